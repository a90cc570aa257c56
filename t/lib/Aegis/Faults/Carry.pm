# Aegis::Faults::Carry: faults of a process that has all roles and carries a case on
# in the transaction that moved it (docs/adr/0015): it is stopped at each place that
# a carried case passes. An installation of its own, ROLES=all.
# Invariant: a place that is not passed is a violation, so the list below is what a
# carried case really passes.
package Aegis::Faults::Carry;

use v5.36;
use Time::HiRes qw(time);
use Aegis::Faults;
use Aegis::Faults::Workers;
use Aegis::Test;

# Nobody sends a module a command there: only fsm and exec take messages, and the
# modules' places are passed within their transactions.
my %at = (relay => ['relay'], exec => ['exec'], module => [qw(analyst planner gate verify)], role => [qw(fsm exec)]);

sub trials ($n) {
    my @t;
    for my $p (Aegis::Failpoint->points) {
        for my $role (@{ $at{ $p->{who} } // [] }, $p->{name} =~ /^pg/ ? 'relay' : ()) {
            next if $role eq 'exec' && $p->{name} =~ /^consumer/;
            push @t, map { my $what = $_; map { [$p->{name}, $role, $what] } 1 .. $n } grep { $_ ne 'lose' } @{ $p->{what} };
        }
    }
    return @t;
}

Aegis::Faults::fault('carry-points', 'each place that a carried case passes, all roles in one process', { some => 1, full => 20 }, sub ($f, $n) {
    my $k = Aegis::Faults->new(seed => $f->{seed}, env => { ROLES => 'all' });
    @$k{qw(bad facts mark)} = ([], {}, $f->{mark});
    $k->effect_script('0.05');
    my @trials = Aegis::Faults::Workers::shuffle($k, trials($n));
    my ($cases, @hit) = (0);
    for my $t (@trials) {
        my ($point, $role, $what) = @$t;
        $k->stack->wait_worker('all') or $k->violation('the process is not back');
        my ($fired, $pid) = ($k->fp->fired($point), $k->stack->pid('all'));
        $k->fp->arm($point, $what, who => $role, ms => 1500);
        # what the executor does of its own takes a script: other steps are made on the way
        my $id = Aegis::Faults::Workers::auto($k, $role eq 'exec' ? 1 + 2 * $k->rand(2) : $cases);
        # and others beside it, which are carried on in the same batches
        Aegis::Faults::Workers::auto($k, 2) for 1 .. $k->rand(4);
        $cases++;
        my $hit = wait_for("$point of $role", 25, sub { $k->fp->fired($point) > $fired }, quiet => 1);
        $k->fp->disarm($point);
        $k->must($hit, "$point of $role was not passed for $what") or next;
        push @hit, { id => $id, at => time, role => $role, what => "$point $role $what" };
        $k->comes('another process', 20, sub { ($k->stack->pid('all') // $pid) != $pid }) if $what eq 'kill';
    }
    $k->say(trials => scalar @trials);
    $k->say(passed => scalar @hit);
    $k->comes('their cases to be CLOSED', 120, sub { $k->resume_parked; !$k->pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE status <> 'CLOSED' AND } . $Aegis::Faults::auto) });
    # one process: what stops one role stops what the others were at
    $_->{role} = 'all' for @hit;
    Aegis::Faults::Workers::resumed($k, @hit);
    eval { $k->settle; 1 } or $k->violation("not settled: $@");
    $k->stack->down;
    $f->violation($_) for @{ $k->{bad} };
    $f->{facts}{$_} = $k->{facts}{$_} for keys %{ $k->{facts} };
});

1;
