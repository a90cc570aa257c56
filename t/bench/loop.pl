#!/usr/bin/perl
# loop.pl: `make bench-loop`: the whole loop with every worker, at 1, 16 and 64
# cases at once; README.md says what is measured. With PEERS=1 the same number of
# cases on other systems, in turns. Writes run/bench-loop.json. Closed cases do not
# become documents of the knowledge base meanwhile: else each plan would be made on a
# search in what the run has left there, which is measured by `make bench-kb`.
# CONCS="64=500": so many cases at these numbers at once instead.
use v5.36;
use Aegis::Bench;
use Aegis::BenchLoop;
use Aegis::BenchPeers;
use Aegis::Test;

$| = 1;
my $rounds = $ENV{ROUNDS} || 3;
my %total = (1 => 60, 16 => 600, 64 => 1500);
%total = map { /^(\d+)=(\d+)$/ } split ' ', $ENV{CONCS} if $ENV{CONCS};
$ENV{AEGIS_KB_CASES} //= 0;
my $bench = Aegis::Bench->start(cases => 1000, roles => 'all', name => 'bench-loop');
say $bench->machine;
my $loop = Aegis::BenchLoop->new($bench);
$loop->cases(64, 200);                    # warm

my @subjects = ($loop, map { Aegis::BenchPeers->new($bench, $_) } $ENV{PEERS} ? @Aegis::BenchPeers::systems : ());

my (%rows, @order);
for my $round (1 .. $rounds) {
    for my $conc (sort { $a <=> $b } keys %total) {
        for my $subject (@subjects) {
            my $r = $subject->measured($conc, $total{$conc});
            my $key = "$r->{system} $conc";
            push @order, $key unless $rows{$key};
            push @{ $rows{$key} }, $r;
            printf "round %d  %-8s %3d at once  %7.1f cases/s  p50 %7.1f ms  p99 %7.1f ms  %6.2f CPU s per 1000  workers %.0f MiB  foreign %.2f  driver %.0f us\n",
                $round, @$r{qw(system conc cases_s p50_ms p99_ms cpu_s_per_1000 rss_mib foreign_cores)}, $r->{own_us} // 0;
        }
    }
}
$_->stop for @subjects[1 .. $#subjects];
my @out = map { my @r = sort { $a->{cases_s} <=> $b->{cases_s} } @{ $rows{$_} }; $r[ $#r / 2 ] } @order;
mkdir root . '/run' unless -d root . '/run';
spew($ENV{JSON} || root . '/run/bench-loop.json', json_encode([ map { my $r = $_; +{ map { $_ => $r->{$_} } qw(system conc cases_s p50_ms p99_ms cpu_s_per_1000 rss_mib foreign_cores) } } @out ]) . "\n");
say "\n| system | cases at once | cases/s | p50 ms | p99 ms | CPU s per 1000 | workers' MiB |\n| --- | --- | --- | --- | --- | --- | --- |";
printf "| %s | %d | %.1f | %.1f | %.1f | %.2f | %.0f |\n", @$_{qw(system conc cases_s p50_ms p99_ms cpu_s_per_1000 rss_mib)} for @out;
