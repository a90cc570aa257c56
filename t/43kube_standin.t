# 43kube_standin.t: the stand-in for a Kubernetes API answers as the real one did
# when it was recorded: kube-apiserver with its controllers, step by step
# (t/data/kube/api.json, made by make k8s-record). With AEGIS_T_KUBE the real one
# is asked again.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Kube;
use Aegis::KubeRecord;
use Aegis::Test;

skip_unless('openssl');

my $recorded = json_decode(slurp(root . '/t/data/kube/api.json'));
my $k = Aegis::Kube->new->prepare;
diag('recorded on kube-apiserver ' . $recorded->{version} . ', asked now: ' . ($k->real ? 'the real one' : 'the stand-in'));
my $now = Aegis::KubeRecord::walk($k);
is(scalar @$now, scalar @{ $recorded->{steps} }, 'as many steps as were recorded');
for my $i (0 .. $#{ $recorded->{steps} }) {
    is_deeply($now->[$i], $recorded->{steps}[$i], "$recorded->{steps}[$i]{step}: $recorded->{steps}[$i]{status}");
}
done_testing;
