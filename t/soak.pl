# soak.pl: random faults, one after the other, for HOURS (0.3): `make soak HOURS=2`.
# Prints TAP, the seed, and each round's memory and descriptors; a row in
# run/faults.json. The invariants are asked after each round.
use v5.36;
use lib 't/lib';
use Test::More;
use List::Util qw(max sum0);
use Time::HiRes qw(time);
use Aegis::Test;

BEGIN { $ENV{B} = build_dir . '/faults' }
use Aegis::Faults;
use Aegis::Faults::Database;
use Aegis::Faults::Gateway;
use Aegis::Faults::Signals;
use Aegis::Faults::Workers;

my $hours = $ENV{HOURS} || 0.3;
my $f = Aegis::Faults->new(seed => $ENV{SEED} || undef);
note("seed $f->{seed}, $hours hours");
# fault => how often in a round
my %n = (F1 => 10, F4 => 8, F8 => 15, F13 => 6, F16 => 400, F17 => 20, F20 => 300, F21 => 20, F22 => 30, F24 => 10, F26 => 20, net => 8, plans => 1,
    'F6-fast' => 1, 'F6-immediate' => 1, 'F6-backends' => 30, 'F11-read-only' => 1, F12 => 1, F25 => 1);
my %fault = map { $_->{name} => $_ } @Aegis::Faults::all;
my ($began, $rounds, $bad, %done, @sample) = (time, 0, 0);
my $seed = $f->{seed};

# KiB and descriptors of every process, by what it is.
sub sample () {
    my %s;
    my %pid = map { $_ => [$f->stack->pid($_) // ()] } $f->stack->roles, 'nginx';
    $pid{'nginx worker'} = [map { $_->{pid} } $f->stack->nginx_workers];
    for my $who (keys %pid) {
        my @kib = map { (eval { slurp("/proc/$_/status") } // '') =~ /^VmRSS:\s*(\d+)/m ? $1 : () } @{ $pid{$who} };
        $s{$who} = [max(0, @kib), max(0, map { scalar(() = glob "/proc/$_/fd/*") } @{ $pid{$who} })];
    }
    return \%s;
}

while (time - $began < $hours * 3600) {
    my $name = (sort keys %n)[ $f->rand(scalar keys %n) ];
    my $row = $f->seen($fault{$name}, $n{$name});
    $rounds++;
    $done{$name} += $n{$name};
    $bad += $row->{violations};
    ok(!$row->{violations}, sprintf '%5.0f s: %s x %d, %.1f s', time - $began, $name, $n{$name}, $row->{seconds}) or diag(map { "  $_\n" } @{ $f->{bad} }[0 .. ($#{ $f->{bad} } < 5 ? $#{ $f->{bad} } : 5)]);
    push @sample, [time - $began, sample()];
    note(join ', ', map { "$_ $sample[-1][1]{$_}[0] KiB $sample[-1][1]{$_}[1] fds" } sort keys %{ $sample[-1][1] });
    $f->stack->wait_worker($_) for $f->stack->roles;
}

# what a process needs after an hour's half is what it needs in the end
my %grown;
my $half = $sample[ @sample / 2 ][1];
for my $who (sort keys %$half) {
    my $end = $sample[-1][1]{$who};
    $grown{$who} = sprintf '%d KiB %d fds, then %d KiB %d fds', @{ $half->{$who} }, @$end;
    cmp_ok($end->[1], '<=', $half->{$who}[1] + 24, "$who has no more descriptors: $half->{$who}[1], $end->[1]");
}
is($bad, 0, "$rounds rounds, no violation");
$f->{done} = [{ fault => 'soak', title => "random faults for $hours hours", count => $rounds, violations => $bad, seconds => sprintf('%.0f', time - $began) + 0,
    seed => $seed, facts => { (map { ("times $_" => $done{$_}) } keys %done), (map { ("at half and in the end: $_" => $grown{$_}) } keys %grown) } }];
$f->record($ENV{JSON} || root . '/run/faults.json', 'soak');
done_testing;
