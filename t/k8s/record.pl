# record.pl: make k8s-record: what the real kube-apiserver answers, as data for
# 43kube_standin.t. The argument is its version.
use v5.36;
use lib 't/lib';
use Aegis::Kube;
use Aegis::KubeRecord;
use Aegis::Test;

die "AEGIS_T_KUBE names no programs of Kubernetes\n" if !$ENV{AEGIS_T_KUBE};
my $steps = Aegis::KubeRecord::walk(Aegis::Kube->new->prepare);
spew(root . '/t/data/kube/api.json', "{\"version\": \"$ARGV[0]\", \"steps\": [\n" . join(",\n", map { json_encode($_) } @$steps) . "\n]}\n");
say scalar(@$steps), ' steps recorded';
