# 47alarms.t: how often the verifier is wrong, over synthetic series and two real
# ones (t/data/series), each verified about a thousand times as healthy and as
# often degraded: at the defaults, and as window, min_samples, passes, fails,
# baseline and burn rate move it. The table is the one in docs/verifier.md.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Test;

my $tool = build_dir . '/t/tools/verify_alarms';
skip_unless($tool);
my $r = run([$tool, root . '/t/data/series'], timeout => 120, env => { san_env });
is($r->{rc}, 0, 'the table is made') or diag($r->{err});

my (%alarm, %undecided, %miss, %took, @series);
for (split /\n/, $r->{out}) {
    my ($series, $setting, $n, $alarm, $undecided, $miss, $s) = split /\t/;
    push @series, $series unless $alarm{$series};
    cmp_ok($n, '>=', 500, "$series, $setting: enough verifications") if $setting eq 'defaults';
    ($alarm{$series}{$setting}, $undecided{$series}{$setting}, $miss{$series}{$setting}, $took{$series}{$setting}) = ($alarm, $undecided, $miss, $s);
}
is_deeply([ grep { /real/ } @series ], ['real latency', 'real cpu'], 'two of the series are real');

subtest 'at the defaults' => sub {
    for my $s (grep { !/low traffic|near limit|bursts|cold start/ } @series) {
        cmp_ok($alarm{$s}{defaults} + $undecided{$s}{defaults}, '<=', 0.5, "$s: at most one false alarm in 200");
        cmp_ok($miss{$s}{defaults}, '<=', 0.5, "$s: at most one miss in 200");
    }
    cmp_ok($alarm{'cold start'}{defaults}, '==', 100, 'a cold start without a warm-up is an alarm, always');
};
subtest 'what the settings move' => sub {
    for my $s ('low traffic', 'near limit', 'latency p95', 'real latency', 'real cpu') {
        cmp_ok($alarm{$s}{'window 60'}, '>', $alarm{$s}{defaults}, "$s: a shorter window alarms more");
        cmp_ok($alarm{$s}{'window 900'}, '<=', $alarm{$s}{defaults}, "$s: a longer one less");
    }
    cmp_ok($alarm{$_}{'fails 3'}, '<=', $alarm{$_}{defaults}, "$_: fails alarms less") for @series;
    cmp_ok($miss{$_}{'passes 3'}, '<=', $miss{$_}{defaults}, "$_: passes misses less") for @series;
    cmp_ok($alarm{'near limit'}{'fails 3'}, '<', $alarm{'near limit'}{defaults} / 2, 'near the limit, by half and more');
    is($alarm{'cold start'}{'warm-up 180'} + 0, 0, 'a warm-up takes the alarms of a cold start away');
    is($undecided{'low traffic'}{'samples 100'} + 0, 100, 'too few samples decide nothing, and pass nothing');
    is($miss{'low traffic'}{'samples 100'} + 0, 0, 'so nothing is missed');
    cmp_ok($alarm{'near limit'}{baseline}, '<', $alarm{'near limit'}{defaults}, 'a baseline knows a service that is near its limit');
    cmp_ok($took{steady}{'burn rate'}, '>', $took{steady}{defaults}, 'a burn rate passes when its long window is over');
    cmp_ok($alarm{$_}{careful}, '<=', 3, "$_: all of it together alarms in at most 3 of 100") for @series;
};
subtest 'the page says the same' => sub {
    my $page = slurp(root . '/docs/verifier.md');
    my @settings = map { (split /\t/)[1] } grep { /^steady\t/ } split /\n/, $r->{out};
    for my $set (@settings) {
        my @cells = map { defined $alarm{$_}{$set} ? sprintf '%.1f / %.1f', $alarm{$_}{$set} + $undecided{$_}{$set}, $miss{$_}{$set} : '' } @series;
        my $row = "| $set | " . join(' | ', @cells) . ' |';
        ok(index($page, $row) >= 0, $set) or diag($row);
    }
};
diag("false alarms and undecided / misses, percent\n" . join '', map { my $s = $_; sprintf "%-13s %s\n", $s, join ' ', map { sprintf '%s %.1f/%.1f', $_,
    $alarm{$s}{$_} + $undecided{$s}{$_}, $miss{$s}{$_} } sort keys %{ $alarm{$s} } } @series) if $ENV{AEGIS_T_TABLE};

done_testing;
