# Aegis::BenchGoals: what the measurements are to show, and the tables that say
# whether they do, on the terminal and in docs/benchmarks.md.
# Invariant: a goal that was not measured is not in the table; a figure from a
# run that was not alone on the machine is marked.
package Aegis::BenchGoals;

use v5.36;
use Aegis::Test;

my $ALONE = 0.3;      # cores that others may use

sub _f ($v, $n = 2) { return defined $v ? sprintf("%.${n}f", $v) : '-' }

# [what, goal, code: (row, rows by name) -> (figure, is it met)]
my @goals = (
    ['transition 32', 'of the limit >= 2.0', sub ($r, $) { (_f($r->{of_limit}), $r->{of_limit} >= 2.0) }],
    ['transition 32', 'of the best peer >= 2.8', sub ($r, $) { defined $r->{x_peer} ? (_f($r->{x_peer}), $r->{x_peer} >= 2.8) : () }],
    ['transition 32', 'p99 < pgbench\'s mean + 3 ms', sub ($r, $) {
        ("$r->{p99_ms} ms, pgbench $r->{pgbench_mean_ms} ms", $r->{p99_ms} < $r->{pgbench_mean_ms} + 3) }],
    ['transition 32', 'nginx <= 30 us a request', sub ($r, $) { (_f($r->{nginx_us}, 1), $r->{nginx_us} <= 30) }],
    ['transition 128', 'of the limit >= 3.0', sub ($r, $) { (_f($r->{of_limit}), $r->{of_limit} >= 3.0) }],
    ['transition 1', 'p50 <= 1.3 x pgbench\'s', sub ($r, $) {
        my $x = $r->{p50_ms} / $r->{pgbench_p50_ms};
        # judged by the best shape; by the gateway's own statement beside it
        my $own = $r->{pgbench_own_p50_ms} ? sprintf '; %.2f x that of our own statement', $r->{p50_ms} / $r->{pgbench_own_p50_ms} : '';
        (_f($x) . " ($r->{p50_ms} ms, pgbench $r->{pgbench_p50_ms} ms$own)", $x <= 1.3) }],
    ['get 32', 'of the limit >= 1.5', sub ($r, $) { (_f($r->{of_limit}), $r->{of_limit} >= 1.5) }],
    ['get 32', 'of the best peer >= 3.3', sub ($r, $) { defined $r->{x_peer} ? (_f($r->{x_peer}), $r->{x_peer} >= 3.3) : () }],
    ['create 32', 'of the limit >= 1.8', sub ($r, $) { (_f($r->{of_limit}), $r->{of_limit} >= 1.8) }],
    ['transition 32 tls', '>= 0.9 of plain', sub ($r, $all) {
        my $plain = $all->{'transition 32'} or return;
        (_f($r->{ours_rps} / $plain->{ours_rps}), $r->{ours_rps} >= 0.9 * $plain->{ours_rps}) }],
    ['memory', '<= 12 MiB a worker at 1000 connections', sub ($r, $) { (_f($r->{rss_mib}, 1) . ' MiB', $r->{rss_mib} <= 12) }],
    ['overload', 'goodput >= 0.9 of the peak', sub ($r, $) { (_f($r->{goodput}), $r->{goodput} >= 0.9) }],
    ['overload', '/healthz p99 < 5 ms', sub ($r, $) { (_f($r->{health_p99_ms}) . ' ms', $r->{health_p99_ms} < 5) }],
    ['overload', 'normal again within 5 s', sub ($r, $) {
        (defined $r->{recovery_s} ? _f($r->{recovery_s}, 1) . ' s' : 'never', defined $r->{recovery_s} && $r->{recovery_s} <= 5) }],
    ['pages', 'p99 < 50 ms', sub ($r, $) { (_f($r->{p99_ms}) . ' ms (' . $r->{worst} . ')', $r->{p99_ms} < 50) }],
    ['pages', 'keyset only', sub ($r, $) { (@{ $r->{plans_bad} } ? join('; ', @{ $r->{plans_bad} }) : "$r->{plans} plans", !@{ $r->{plans_bad} }) }],
);

sub name ($r) { return "$r->{work} $r->{conns}" . (${ $r->{tls} } ? ' tls' : '') }

sub verdicts ($rows, $extra) {
    my %all = ((map { name($_) => $_ } @$rows), %$extra);
    my @out;
    for my $g (@goals) {
        my ($what, $goal, $code) = @$g;
        my $r = $all{$what} or next;
        my ($figure, $met) = $code->($r, \%all) or next;
        push @out, [$what, $goal, $figure, $met ? 'met' : 'MISSED', ($r->{foreign_cores} // 0) > $ALONE ? '*' : ''];
    }
    return @out;
}

sub _markdown ($head, @lines) {
    return join '', map { '| ' . join(' | ', @$_) . " |\n" } $head, [ map { '---' } @$head ], @lines;
}

sub table ($rows, $extra) {
    my $text = '';
    $text .= _markdown(['work', 'connections', 'ours/s', 'p50 ms', 'p99 ms', 'pgbench/s', 'peer/s', 'of the limit', 'x peer',
            'nginx us', 'PG us', 'a group', 'others\' cores'],
        map { [ $_->{work} . (${ $_->{tls} } ? ', TLS 1.3' : ''), $_->{conns}, $_->{ours_rps}, _f($_->{p50_ms}), _f($_->{p99_ms}),
            "$_->{pgbench_tps} ($_->{pgbench_best})", defined $_->{peer_rps} ? "$_->{peer_rps} ($_->{peer_best})" : '-', _f($_->{of_limit}), _f($_->{x_peer}),
            _f($_->{nginx_us}, 1), _f($_->{pg_us}, 1), _f($_->{group}, 1),
            _f($_->{foreign_cores}) . ($_->{foreign_cores} > $ALONE ? ' *' : '') ] } @$rows) . "\n" if @$rows;
    if (my $w = $extra->{workers}) {
        $text .= sprintf "With the quick start's workers beside, transition over 32 connections: %.0f/s, p50 %.2f ms, p99 %.2f ms, nginx %.1f us, "
            . "PG %.1f us%s\n\n", @$w{qw(ours_rps p50_ms p99_ms nginx_us pg_us)}, $w->{foreign_cores} > $ALONE ? ' *' : '';
    }
    my @v = verdicts($rows, $extra);
    $text .= _markdown(['work', 'goal', 'figure', ''], map { [ @$_[0 .. 2], $_->[3] . $_->[4] ] } @v) if @v;
    $text .= "\n\\* something else used more than $ALONE cores meanwhile: not to be trusted\n"
        if $text =~ / \* \|/ || grep { $_->[4] } @v;
    return $text;
}

# Put the table between the page's two marks.
sub write_page ($file, $table, $command, $machine) {
    my $text = slurp($file);
    my @d = localtime;
    my $new = sprintf "`%s`, %04d-%02d-%02d, %s\n\n%s", $command, $d[5] + 1900, $d[4] + 1, $d[3], $machine, $table;
    $text =~ s/(<!-- results -->\n).*?(<!-- end -->)/$1$new\n$2/s or die "$file has no place for results";
    spew($file, $text);
}

1;
