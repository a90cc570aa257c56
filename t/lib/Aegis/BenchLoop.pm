# Aegis::BenchLoop: the whole loop, measured: cases are created over HTTP and seen
# CLOSED on the bus, by a closed loop of so many at once, with every worker
# running. A case is six transitions through all modules; its steps are `echo`.
# Invariant: a case that ends anywhere else ends the measurement with an error.
package Aegis::BenchLoop;

use v5.36;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);
use Aegis::Nats;
use Aegis::Test;

my $SUBJECT = 'evt.case.transition.v1';

# bench: an Aegis::Bench that was started with roles.
sub new ($class, $bench) {
    my $nats = Aegis::Nats->new($bench->stack->e('NATS_URL'));
    $nats->listen($SUBJECT);
    return bless { bench => $bench, nats => $nats, token => $bench->stack->token, key => 0 }, $class;
}

sub _create ($self, $slot) {
    my $s = $self->{sock}[$slot] //= IO::Socket::INET->new(PeerAddr => "127.0.0.1:$self->{bench}{plain}") // die "no connection: $!";
    $self->{slot}{ fileno $s } = $slot;
    $self->{select}->add($s);
    $self->{began}[$slot] = time;
    my $body = json_encode({ title => 'case ' . ++$self->{key} . ' of the loop' });
    syswrite $s, "POST /case/create HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer $self->{token}\r\nContent-Type: application/json\r\n"
        . "Idempotency-Key: loop-$$-$self->{key}\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
}

# The case that a slot has made, from its answer.
sub _created ($self, $s) {
    my $in = '';
    do { sysread $s, $in, 65536, length $in or die "the gateway closed: $in" } until $in =~ /\r\n\r\n.*\}\z/s;
    $in =~ /^HTTP\/1\.1 201 .*"case_id":"([^"]+)"/s or die "not created: $in";
    return $1;
}

# total cases, so many at once.
sub cases ($self, $conc, $total) {
    my (%slot, %over, @took, $started, $done);
    $self->{select} = IO::Select->new($self->{nats}->socket);
    $self->{sock} = [];
    my $next = sub ($i) { $self->_create($i) if $started++ < $total };
    my $end = sub ($id) {
        my $i = delete $slot{$id};
        push @took, time - $self->{began}[$i];
        $done++;
        $next->($i);
    };
    my $began = time;
    $started = $done = 0;
    $next->($_) for 0 .. $conc - 1;
    while ($done < $total) {
        my @ready = $self->{select}->can_read(30) or die "no case moved for 30 s; $done of $total were closed\n";
        for my $s (@ready) {
            if ($s != $self->{nats}->socket) {
                my $id = $self->_created($s);
                $slot{$id} = $self->{slot}{ fileno $s };
                $end->($id) if delete $over{$id};
                next;
            }
            for my $m ($self->{nats}->heard) {
                my ($to) = $m =~ /"to_status":"(CLOSED|PARKED)"/ or next;
                my ($id) = $m =~ /"case_id":"([^"]+)"/;
                die "a case was parked: $m\n" if $to eq 'PARKED';
                defined $slot{$id} ? $end->($id) : ($over{$id} = 1);
            }
        }
    }
    my $secs = time - $began;
    @took = sort { $a <=> $b } @took;
    return { conc => $conc, cases_s => $total / $secs, p50_ms => $took[ @took / 2 ] * 1000, p99_ms => $took[ int @took * 0.99 ] * 1000, secs => $secs };
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
