#!/usr/bin/perl
# loop.pl: `make bench-loop`: the whole loop with every worker, at 1, 16 and 64
# cases at once; README.md says what is measured. Writes run/bench-loop.json.
use v5.36;
use Aegis::Bench;
use Aegis::BenchLoop;
use Aegis::Test;

$| = 1;
my $rounds = $ENV{ROUNDS} || 3;
my %total = (1 => 60, 16 => 600, 64 => 1500);
my $bench = Aegis::Bench->start(cases => 1000, roles => 'relay fsm analyst planner gate exec verify', name => 'bench-loop');
say $bench->machine;
my $loop = Aegis::BenchLoop->new($bench);
$loop->cases(64, 200);                    # warm

my @rows;
for my $round (1 .. $rounds) {
    for my $conc (sort { $a <=> $b } keys %total) {
        my $r = $loop->measured($conc, $total{$conc});
        push @{ $rows[$conc] }, $r;
        printf "round %d  %3d at once  %7.1f cases/s  p50 %7.1f ms  p99 %7.1f ms  %6.2f CPU s per 1000  workers %.0f MiB  foreign %.2f\n",
            $round, @$r{qw(conc cases_s p50_ms p99_ms cpu_s_per_1000 rss_mib foreign_cores)};
    }
}
my @out = map { my @r = sort { $a->{cases_s} <=> $b->{cases_s} } @$_; $r[ $#r / 2 ] } grep { $_ } @rows;
mkdir root . '/run' unless -d root . '/run';
spew($ENV{JSON} || root . '/run/bench-loop.json', json_encode([ map { my $r = $_; +{ map { $_ => $r->{$_} } qw(system conc cases_s p50_ms p99_ms cpu_s_per_1000 rss_mib foreign_cores) } } @out ]) . "\n");
say "\n| system | cases at once | cases/s | p50 ms | p99 ms | CPU s per 1000 | workers' MiB |\n| --- | --- | --- | --- | --- | --- | --- |";
printf "| %s | %d | %.1f | %.1f | %.1f | %.2f | %.0f |\n", @$_{qw(system conc cases_s p50_ms p99_ms cpu_s_per_1000 rss_mib)} for @out;
