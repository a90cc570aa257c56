# Aegis::BenchLimits: what the gateway does at its edges: memory of a worker with
# 1000 connections, and three times more requests than it can serve.
# Invariant: after the overload, as after every run, each 2xx is a committed row.
package Aegis::BenchLimits;

use v5.36;
use Aegis::Test;

sub _rss_mib ($pid) {
    my ($kib) = eval { slurp("/proc/$pid/status") } =~ /^VmRSS:\s+(\d+)/m;
    return ($kib // 0) / 1024;
}

# The highest resident size of the one worker while 1000 connections are open and
# used in turn. With 1024 worker_connections nginx would close idle ones to make
# room.
sub memory ($b) {
    my $s = $b->stack;
    my $undo = $s->nginx_edit(sub ($conf) {
        $conf =~ s/^worker_processes.*/worker_processes 1;/m or die;
        $conf =~ s/worker_connections .*/worker_connections 2048;/ or die;
        $conf;
    });
    $b->reset;
    my ($max, $busy) = (0, 0);
    my $look = sub {
        for my $w (grep { !$_->{exiting} } $s->nginx_workers) {
            my $rss = _rss_mib($w->{pid});
            $max = $rss if $rss > $max;
        }
    };
    $look->();
    my $before = $max;
    my $j = $b->load(port => $b->{plain}, work => 'get', conns => 1000, phases => '3000:4', while => $look);
    $undo->();
    return { rss_mib => $max, rss_before_mib => $before, conns => 1000, n => $j->{ok}, foreign_cores => $j->{foreign} };
}

# Transitions with the quick start's workers beside: the relay publishes each.
# The installation without workers is stopped first.
sub workers ($bench, $rounds) {
    $bench->stack->down;
    my $w = Aegis::Bench->start(cases => $bench->{cases}, secs => $bench->{secs}, roles => join(' ', $bench->stack->roles), name => 'bench-workers', units => $ENV{UNITS});
    my @r = sort { $a->{rps} <=> $b->{rps} } map { $w->ours('transition', 32) } 1 .. $rounds;
    $w->stack->down;
    my $r = $r[ $#r / 2 ];
    return { ours_rps => $r->{rps}, p50_ms => $r->{p50_ms}, p99_ms => $r->{p99_ms}, nginx_us => $r->{server_us}, pg_us => $r->{pg_us},
        foreign_cores => $r->{foreign} };
}

# Peak is the closed loop over as many connections.
sub overload ($b) {
    my %to = (port => $b->{plain}, work => 'transition');
    $b->reset;
    my $peak = $b->load(%to, conns => 600);
    $b->verify($peak);
    my $rps = $peak->{phases}[0]{rps};

    # what is normal at half of it; three times as much; half again
    my ($half, $much) = (int $rps / 2, int $rps * 3);
    $b->reset;
    # a process of its own asks /healthz: what the flood's sender is late with is not the gateway's
    my $probe;
    my $j = $b->load(%to, conns => 600, phases => "$half:4,$much:5,$half:8", tolerant => 1, while => sub { $probe //= $b->probe('50:4,50:5,50:8') },
        args => ['--slices', '--allow', '503', '--patience', 1, '--timeout', 15]);
    my $health = $probe->()->{phases}[1];
    die 'overload: ' . json_encode({ %$j, slices => 0 }) if $j->{wrong} || $j->{closed} || $j->{unanswered};
    $b->verify($j) unless $j->{timeouts} || $j->{settled};
    my ($before, $during, $after) = @{ $j->{phases} };
    my $normal = 2 * $before->{p99_ms} + 2;
    my $ends = $before->{secs} + $during->{secs};
    # normal again: nothing is late any more. The first second that is normal is told beside it, not judged
    my @after = grep { $_->[0] > $ends } @{ $j->{slices} };
    my @late = grep { $after[$_][5] > $normal } 0 .. $#after;
    my $recovery = @late ? $after[ $late[-1] ][0] - $ends : 0;
    my $second = 0;
    for my $i (@late) { $second = $i + 1 if $i < $second + 10 }
    return { peak_rps => $rps, offered_rps => $much, goodput => $during->{rps} / $rps, p99_ms => $during->{p99_ms},
        refused => $during->{refused}, gave_up => $during->{gave_up}, health_p99_ms => $health->{p99_ms},
        health_n => $health->{ok}, normal_p99_ms => $before->{p99_ms}, after_p99_ms => $after->{p99_ms},
        recovery_s => $recovery < $after->{secs} - 0.5 ? $recovery : undef,
        normal_second_s => $second + 10 <= @after ? $second / 10 : undef, late_slices => scalar @late, foreign_cores => $j->{foreign} };
}

1;
