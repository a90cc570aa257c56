# run.pl: `make bench`: rows of (work, connections, TLS), each as ours beside the
# limit (pgbench on the same SQL) and the peer, interleaved, medians of ROUNDS.
# Writes run/bench.json and prints the table with each goal; README.md beside it
# says what every figure means.
use v5.36;
use lib 't/lib';
use File::Path 'make_path';
use Time::HiRes 'time';
use Aegis::Bench;
use Aegis::BenchGoals;
use Aegis::BenchLimits;
use Aegis::BenchPages;
use Aegis::Test;

$| = 1;
my $ROUNDS = $ENV{ROUNDS} || 3;
my $SECS = $ENV{SECS} || 5;
my $WORKS = $ENV{WORKS} || 'default';
my $QUICK = $ROUNDS eq '1' && $SECS < 3;          # the cells that may decide, and smaller tables
my $CASES = $ENV{CASES} || ($QUICK ? 20_000 : 60_000);
$WORKS = 'transition get create tls' . ($QUICK ? '' : ' memory overload') if $WORKS eq 'default';
die "ROUNDS, SECS and CASES are numbers\n" if grep { !/^\d+$/ } $ROUNDS, $SECS, $CASES;

my %rows = (
    transition => [ ['transition', 32, 0], ['transition', 1, 0], ['transition', 128, 0] ],
    get => [ ['get', 32, 0] ],
    create => [ ['create', 32, 0] ],
    tls => [ ['transition', 32, 1] ],
    more => [ ['get', 1, 0], ['get', 128, 0], ['get', 32, 1], ['create', 1, 0], ['create', 128, 0] ],
);
my %other = map { $_ => 1 } qw(memory overload pages workers);
my (@rows, %extra);
for my $w (split ' ', $WORKS) {
    my ($name, $conns) = split /:/, $w;
    if ($other{$name}) { $extra{$name} = 1; next }
    my $of = $rows{$name} or die "WORKS knows: default, " . join(', ', sort(keys %rows, keys %other)) . " (or transition:32)\n";
    push @rows, grep { !defined $conns || $_->[1] == $conns } @$of;
}

# --- the cells of a row: [subject, argument...]

my %shapes = (transition => ['func', 'lean', 'cte', 'seq'], create => ['func', 'lean', 'seq'], get => ['func', 'lean']);

sub limit_cells ($work, $conns) {
    my @clients = $conns == 1 ? (1) : do { my %seen; grep { !$seen{$_}++ } $conns, $QUICK ? () : 8, 16 };
    my @cells;
    for my $shape (@{ $shapes{$work} }) {
        # what is far behind is measured with one client count
        my @c = $shape eq 'seq' || ($QUICK && $shape eq 'func') ? $clients[0] : @clients;
        push @cells, map { ['pgbench', $work, $shape, $_] } grep { $shape !~ /seq|func/ || $_ <= 32 } @c;
    }
    return @cells;
}
sub peer_cells ($work, $conns, $tls) {
    return () unless -x build_dir . '/t/bench/peer';           # make bench PEER=
    return map { ['peer', $work, $_, $conns, $tls] } $QUICK && ($conns != 32 || $tls) ? 'func' : ('func', 'seq');
}
sub our_cell ($work, $conns, $tls) { return ['ours', $work, $conns, $tls] }

my (%runs, $bench);

sub measure ($cell) {
    my ($who, @args) = @$cell;
    return $bench->$who(@args);
}

sub med (@v) { @v = sort { $a <=> $b } grep { defined } @v; return @v ? ($v[ $#v / 2 ] + $v[ @v / 2 ]) / 2 : undef }

sub cell ($cell) {
    my $all = $runs{"@$cell"} or return {};
    my %keys = map { map { $_ => 1 } keys %$_ } @$all;
    return { map { my $k = $_; $k => med(map { $_->{$k} } @$all) } keys %keys };
}

sub best (@cells) {
    my @r = sort { $b->[0]{rps} <=> $a->[0]{rps} } map { [cell($_), $_] } @cells;
    return @{ $r[0] // [{}, []] };
}

sub round2 ($v, $n = 2) { return defined $v ? 0 + sprintf "%.${n}f", $v : undef }

sub row ($r) {
    my ($work, $conns, $tls) = @$r;
    my $o = cell(our_cell(@$r));
    my ($limit, $lcell) = best(limit_cells($work, $conns));
    my ($same) = best(grep { $_->[3] == $conns } limit_cells($work, $conns));
    my ($own) = best(grep { $_->[3] == $conns && $_->[2] eq 'func' } limit_cells($work, $conns));
    my ($peer, $pcell) = best(peer_cells($work, $conns, $tls));
    # a median, as the figures are: what one round suffered does not decide them
    my @foreign = map { cell($_)->{foreign} } our_cell(@$r), peer_cells(@$r), limit_cells($work, $conns);
    return { work => $work, conns => $conns, tls => $tls ? \1 : \0,
        ours_rps => round2($o->{rps}, 0), p50_ms => round2($o->{p50_ms}), p99_ms => round2($o->{p99_ms}),
        pgbench_tps => round2($limit->{rps}, 0), pgbench_best => "$lcell->[2] c=$lcell->[3]",
        pgbench_mean_ms => round2($same->{mean_ms}), pgbench_p50_ms => round2($same->{p50_ms}),
        pgbench_own_p50_ms => round2($own->{p50_ms}),
        peer_rps => round2($peer->{rps}, 0), peer_best => $pcell->[2], peer_p99_ms => round2($peer->{p99_ms}),
        of_limit => round2($o->{rps} / $limit->{rps}), x_peer => $peer->{rps} ? round2($o->{rps} / $peer->{rps}) : undef,
        nginx_us => round2($o->{server_us}, 1), pg_us => round2($o->{pg_us}, 1),
        pgbench_pg_us => round2($limit->{pg_us}, 1), peer_us => round2($peer->{server_us}, 1), peer_pg_us => round2($peer->{pg_us}, 1),
        load_us => round2($o->{load_us}, 1), group => round2($o->{group}, 1), foreign_cores => round2((sort { $b <=> $a } @foreign)[0]) };
}

# --- the run

my $t0 = time;
$bench = Aegis::Bench->start(cases => $CASES, secs => $SECS, units => $ENV{UNITS});
printf "%d cases, %d x %d s a cell; %s\n", $CASES, $ROUNDS, $SECS, $bench->machine;

for my $round (1 .. (@rows ? $ROUNDS : 0)) {
    my %done;
    for my $r (@rows) {
        for my $cell (limit_cells($r->[0], $r->[1]), our_cell(@$r), peer_cells(@$r)) {
            next if $done{"@$cell"}++;
            my $v = measure($cell);
            push @{ $runs{"@$cell"} }, $v;
            printf "%4d s  round %d  %-28s %8.0f/s  p99 %7s ms  PG %5.0f us  server %5s us  foreign %.2f%s%s\n", time - $t0, $round,
                "@$cell", $v->{rps}, map({ defined $_ ? sprintf '%.1f', $_ : '-' } $v->{p99_ms}), $v->{pg_us},
                defined $v->{server_us} ? sprintf('%.0f', $v->{server_us}) : '-', $v->{foreign}, $v->{foreign} > 0.3 ? '  (not alone)' : '',
                $v->{group} ? sprintf('  %.1f a statement', $v->{group}) : '';
        }
    }
}
my @out = map { row($_) } @rows;

my $machine = $bench->machine;
my %x;
$x{memory} = Aegis::BenchLimits::memory($bench) if $extra{memory};
$x{overload} = Aegis::BenchLimits::overload($bench) if $extra{overload};
$x{workers} = Aegis::BenchLimits::workers($bench, $ROUNDS) if $extra{workers};
$x{pages} = Aegis::BenchPages::measure($bench) if $extra{pages};

my $dir = root . '/run';
make_path($dir) unless -e $dir;
my $file = $ENV{JSON} || "$dir/bench.json";
spew($file, json_encode(\@out) . "\n") if @out;
spew($file =~ s/\.json$/-raw.json/r, json_encode({ machine => $machine, rounds => $ROUNDS, secs => $SECS, cases => $CASES,
    runs => \%runs, extra => \%x }) . "\n");

my $table = Aegis::BenchGoals::table(\@out, \%x);
print "\n$table\n";
Aegis::BenchGoals::write_page(root . '/docs/benchmarks.md', $table,
    "make bench ROUNDS=$ROUNDS SECS=$SECS" . ($ENV{WORKS} && $ENV{WORKS} ne 'default' ? " WORKS='$WORKS'" : ''), $machine)
    if $ENV{PAGE};
printf "%d s; every figure is in %s\n", time - $t0, $file =~ s/\.json$/-raw.json/r;
