# stand_in.pl DIR DEPLOYMENT...: the stand-in for a Kubernetes API as a program, for
# make demo: with the rights of deploy/k8s/rbac.yaml, a namespace "shop" and these
# deployments in it, until it is told to end. In DIR it leaves ca.crt, the executor's
# service account (account/) and, once all is there, its address (server).
use v5.36;
use FindBin;
use POSIX ();
use lib "$FindBin::Bin/../lib";
use Aegis::Kube;
use Aegis::Test;

my ($dir, @deployments) = @ARGV;
die "usage: stand_in.pl DIR DEPLOYMENT...\n" if !@deployments;
delete $ENV{AEGIS_T_KUBE};
$SIG{$_} = sub { exit 0 } for qw(TERM INT HUP);

my $k = Aegis::Kube->new(dir => $dir)->prepare;
$k->workload('deployment', $_) for @deployments;
spew("$dir/server", $k->server . "\n");
POSIX::pause() while 1;             # until who began it says so, or is gone: setpriv --pdeathsig
