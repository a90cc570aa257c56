# analyst.pl: `make bench-analyst`: SERIES (1 000) series of DAYS (1) days, a point a
# minute, are put into metric_1m, and an analyst finds them there: reading, detecting,
# storing states. CPU of the worker and of PostgreSQL by point, which stands noise;
# beside it the time on the clock. detect_bench measures the same in memory alone.
use v5.36;
use lib 't/lib';
use POSIX ();
use Test::More;
use Time::HiRes 'time';
use Aegis::Stack;
use Aegis::Test;

my ($series, $hours) = ($ENV{SERIES} || 1000, 24 * ($ENV{DAYS} || 1));
my $hz = POSIX::sysconf(POSIX::_SC_CLK_TCK());
my $stack = Aegis::Stack->own('bench-analyst', durable => 1, env => { ROLES => 'analyst' });
my $pg = $stack->pg;
my $from = time - $hours * 3600 - 300;
$from -= $from % 60;

my $last = $from + ($hours * 60 - 1) * 60;

# seconds of the worker and of its backends
sub cpu () {
    my $sum = 0;
    my $worker = $stack->pid('analyst');
    for my $pid ($worker, @{ $pg->dbh->selectcol_arrayref(q{SELECT pid FROM pg_stat_activity WHERE usename = 'aegis_worker'}) }) {
        my $s = eval { slurp("/proc/$pid/stat") } // next;
        my @f = split ' ', $s =~ s/^.*\)\s+//sr;
        $sum += ($f[11] + $f[12]) / $hz;
    }
    my @f = split ' ', slurp("/proc/$worker/stat") =~ s/^.*\)\s+//sr;
    return ($sum, ($f[11] + $f[12]) / $hz);
}

my $mark = sub { $pg->one(q{SELECT coalesce(extract(epoch FROM mark), 0) FROM aegis.analyst_mark WHERE source = 'metric'}) };
my ($all, $own) = cpu;

# a day's curve and noise, each series at another level
$pg->dbh->do(q{INSERT INTO aegis.metric_1m (tenant, resource, metric, bucket, samples, avg, max, p95, series)
    SELECT 'default', 'urn:k8s:svc:bench/' || s / 10, 'load_' || s % 10, to_timestamp(?) + m * interval '1 minute', 60, v.v, v.v * 1.1, v.v * 1.05, s
      FROM generate_series(1, ?) s, generate_series(0, ?) m,
           LATERAL (SELECT (s % 50 + 10) * (1 + 0.3 * sin(m / 229.2)) + (hashtextextended(s || ':' || m, 0) % 1000) / 1000.0 AS v) v}, undef,
    $from, $series, $hours * 60 - 1);
my $t0 = time;
wait_for('all of it to be analysed', 3000, sub { $mark->() >= $last }) or die "it ends at " . $mark->() . "\n";
my $took = time - $t0;
my ($all2, $own2) = cpu;
my $n = $stack->metric('analyst', 'aegis_analyst_points_total');
printf "%d series x %d h: %d points in %.1f s, %.2f us of CPU a point (the worker %.2f, PostgreSQL %.2f), %d findings\n", $series, $hours, $n, $took,
    ($all2 - $all) / $n * 1e6, ($own2 - $own) / $n * 1e6, ($all2 - $all - $own2 + $own) / $n * 1e6, $pg->one('SELECT count(*) FROM aegis.finding');
$stack->finish;
done_testing;
