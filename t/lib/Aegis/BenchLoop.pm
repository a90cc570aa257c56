# Aegis::BenchLoop: the whole loop, measured: cases are created over HTTP and seen
# CLOSED on the bus, by a closed loop of so many at once, with every worker
# running. A case is six transitions through all modules; its steps are `echo`.
# Invariant: a case that ends anywhere else ends the measurement with an error.
package Aegis::BenchLoop;

use v5.36;
use Aegis::Test;

# bench: an Aegis::Bench that was started with roles.
sub new ($class, $bench) {
    return bless { bench => $bench, runs => 0 }, $class;
}

# total cases, so many at once, by t/bench/loop/loop.c.
sub cases ($self, $conc, $total) {
    my $stack = $self->{bench}->stack;
    my $r = run([build_dir . '/t/bench/loop/loop', $self->{bench}{plain}, $stack->e('NATS_URL'), $stack->token, "loop-$$-" . ++$self->{runs}, $conc, $total], timeout => 600);
    die "loop: $r->{err}$r->{out}" if $r->{rc};
    return json_decode($r->{out});
}

# cases(), with the CPU that gateway, workers, PostgreSQL and NATS took, and the workers' memory.
sub measured ($self, $conc, $total) {
    my $b = $self->{bench};
    my $r;
    my $m = $b->_measured(sub { $r = $self->cases($conc, $total); {} });
    my $cpu = 0;
    $cpu += $m->{cpu}{$_} for qw(nginx pg workers); # workers: NATS as well
    my $rss = 0;
    for my $role (grep { $b->stack->pid($_) } $b->stack->roles, 'all') {
        my ($kb) = slurp('/proc/' . $b->stack->pid($role) . '/status') =~ /^VmRSS:\s+(\d+)/m;
        $rss += $kb / 1024;
    }
    return { system => 'aegis', %$r, cpu_s_per_1000 => $cpu / $total * 1000, rss_mib => $rss, foreign_cores => $m->{foreign} };
}

1;
