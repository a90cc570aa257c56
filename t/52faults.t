# 52faults.t: a part of the campaign of faults that is quick enough for each run:
# nginx workers killed under load, connections cut after COMMIT, races for one key
# and one version on two gateways, clients that leave, failpoints of each role,
# poison. `make faults` is the whole of it; docs/reliability.md has its numbers.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Test;

BEGIN {
    plan skip_all => 'make faults-built first' unless -x build_dir . '/faults/aegis-worker';
    $ENV{B} = build_dir . '/faults';
}
use Aegis::Faults;
use Aegis::Faults::Database;
use Aegis::Faults::Gateway;
use Aegis::Faults::Workers;

is(system("nm '" . ($ENV{B} =~ s{/faults$}{}r) . "/aegis-worker' | grep -q aegis_failpoint") >> 8, 1, 'what is shipped has no failpoint');
my $f = Aegis::Faults->new(seed => $ENV{SEED} || 20_261_126);
$f->run_all('fast');
$f->stack->finish(allow => [qr/exited on signal 9/]);
done_testing;
