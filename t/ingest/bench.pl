#!/usr/bin/perl
# bench.pl: `make bench-ingest`: remote write into the sensor through nginx, flat out and
# at 100 000 samples/s, beside a plain COPY of the same rows and Prometheus' own
# receiver, all on this machine, one after the other; then locators of one tenant, as
# creates are measured, at 2 000/s and flat out. WORKS=hint: these alone; WORKS=write: all
# but these. Then how long after a minute's end its rows are there. Writes run/bench-ingest.json.
use v5.36;
use Time::HiRes qw(time);
use Aegis::Bench;
use Aegis::Test;

$| = 1;
my $rounds = $ENV{ROUNDS} || 3;
my $secs = $ENV{SECS} && $ENV{SECS} > 5 ? $ENV{SECS} : 20;
my $tool = "$ENV{B}/t/ingest/ingest";
my $bench = Aegis::Bench->start(cases => 100, roles => 'sensor', name => 'bench-ingest');
my ($token) = split /\n/, slurp($bench->{tokens});
say $bench->machine;
my %rows;

sub send_to ($what, $target, $path, $series, $per, $rate, $conns) {
    my $r = run([$tool, $target, $path, $token, 'bench0', $series, $per, $secs, $rate, $conns], timeout => $secs + 60);
    my $j = json_decode($r->{out});
    printf "%-42s %9d/s  p50 %7.2f ms  p99 %7.2f ms  max %8.2f ms  %d errors\n", $what, @$j{qw(per_s p50_ms p99_ms max_ms errors)};
    push @{ $rows{$what} }, $j;
    return $j;
}

# What was answered is there: each sample in exactly one row. The newest ones are of this
# minute, which is written after its end.
sub ended () {
    my $end = 60 * (1 + int(time / 60));
    my $answered = 0;
    $answered += $_->{samples} for map { @{ $rows{$_} } } grep { /^sensor/ } keys %rows;
    my $kept = sub { $bench->pg->one(q{SELECT coalesce(sum(samples), 0) FROM aegis.metric_1m WHERE tenant = 'bench0'}) };
    wait_for('the last minute', 150, sub { $kept->() >= $answered });
    printf "answered %d samples, in the minutes %d, %.1f s after the last minute's end\n", $answered, $kept->(), time - $end;
}

# rate 0: flat out. The load is that of t/bench, so that it can be held against creates.
sub hints ($what, $conns, $rate) {
    my $n = sub { $bench->pg->one(q{SELECT count(*) FROM aegis.oo_locator WHERE bucket = 'measured'}) };
    my ($had, @a) = ($n->(), $bench->_groups);
    my $j = $bench->load(port => $bench->{plain}, work => 'hint', conns => $conns, phases => "$rate:$secs", timeout => $secs + 60);
    my @b = $bench->_groups;
    my $p = $j->{phases}[0];
    die 'answered ' . $j->{ok} . ', there are ' . ($n->() - $had) if $n->() - $had != $j->{ok};
    printf "%-42s %9d/s  p50 %7.2f ms  p99 %7.2f ms  max %8.2f ms  nginx %.1f us, PG %.1f us, a group %.1f, others' cores %.2f\n", $what, @$p{qw(rps p50_ms p99_ms max_ms)},
        $j->{cpu}{nginx} / $j->{ok} * 1e6, $j->{cpu}{pg} / $j->{ok} * 1e6, ($b[0] - $a[0]) / ($b[1] - $a[1]), $j->{foreign};
    push @{ $rows{$what} }, { per_s => $p->{rps}, map { $_ => $p->{$_} } qw(p50_ms p99_ms max_ms) };
}

# The rows that a request of the tool stands for, by COPY into a plain table.
sub copy_rows ($n) {
    my $d = $bench->pg->dbh;
    $d->do('CREATE TABLE IF NOT EXISTS public.bench_sample (tenant text, metric text, labels jsonb, t timestamptz, v float8)');
    $d->do('TRUNCATE public.bench_sample');
    my @lines = map { my $k = $_ % 10_000; join("\t", 'bench0', 'bench_metric_' . $k % 50, sprintf('{"cluster":"eu-1","instance":"10.0.%d.%d:9100","job":"node","pod":"web-%d-abcde"}',
        $k / 250, $k % 250, $k / 50), '2026-11-26 05:00:00+00', $_ / 7) . "\n" } 0 .. 1999;
    my $block = join '', @lines;
    my $t = time;
    my $left = $n;
    while ($left > 0) {         # a commit a request, as each of them is answered
        $d->do('COPY public.bench_sample FROM STDIN');
        $d->pg_putcopydata($block);
        $d->pg_putcopyend;
        $left -= 2000;
    }
    my $took = time - $t;
    printf "%-42s %9d/s\n", 'COPY, 2 000 rows a commit', $n / $took;
    push @{ $rows{'COPY, 2 000 rows a commit'} }, { per_s => $n / $took };
    $t = time;
    $d->do('COPY public.bench_sample FROM STDIN');
    $d->pg_putcopydata($block) for 1 .. $n / 2000;
    $d->pg_putcopyend;
    $took = time - $t;
    printf "%-42s %9d/s\n", 'COPY, one commit', $n / $took;
    push @{ $rows{'COPY, one commit'} }, { per_s => $n / $took };
}

my $dir = scratch('prometheus');
spew("$dir/p.yml", "global: {scrape_interval: 1h}\n");
my $port = free_port;
my $prom = start_process('prometheus', ['prometheus', "--config.file=$dir/p.yml", "--storage.tsdb.path=$dir/data", "--web.listen-address=127.0.0.1:$port",
    '--web.enable-remote-write-receiver'], log => "$dir/log");
wait_for('prometheus', 30, sub { run(['curl', '-fsS', "http://127.0.0.1:$port/-/ready"])->{rc} == 0 }) or die slurp("$dir/log");

for my $round (1 .. $rounds) {
    say "round $round";
    if (($ENV{WORKS} // '') ne 'write') {
        hints("/ingest/hint, 2 000/s, $_ connections", $_, 2000) for 16, 64;
        hints('/ingest/hint, flat out, 64 connections', 64, 0);
    }
    next if ($ENV{WORKS} // '') eq 'hint';
    my $ours = "127.0.0.1:$bench->{plain}";
    send_to('sensor, flat out, 10 000 series', $ours, '/api/v1/write', 10_000, 2000, 0, 4);
    send_to('sensor, 100 000/s, 10 000 series', $ours, '/api/v1/write', 10_000, 2000, 100_000, 16);
    send_to('sensor, 100 000/s, 100 000 series', $ours, '/api/v1/write', 100_000, 2000, 100_000, 16);
    ended();
    send_to('Prometheus, flat out, 10 000 series', "127.0.0.1:$port", '/api/v1/write', 10_000, 2000, 0, 4);
    send_to('Prometheus, 100 000/s, 100 000 series', "127.0.0.1:$port", '/api/v1/write', 100_000, 2000, 100_000, 16);
    copy_rows(2_000_000);
}

mkdir root . '/run' unless -d root . '/run';
spew($ENV{JSON} || root . '/run/bench-ingest.json', json_encode(\%rows) . "\n");
say "\n| what | samples/s | p50 ms | p99 ms | max ms |\n| --- | --- | --- | --- | --- |";
for my $what (sort keys %rows) {
    my @r = sort { $a->{per_s} <=> $b->{per_s} } @{ $rows{$what} };
    my $m = $r[ $#r / 2 ];
    printf "| %s | %d | %s | %s | %s |\n", $what, $m->{per_s}, map { defined $m->{$_} ? sprintf '%.1f', $m->{$_} : '' } qw(p50_ms p99_ms max_ms);
}
