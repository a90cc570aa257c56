# Aegis::Chaos: clients that go on while things break: each walks cases of its own
# by hand (create, read, move under If-Match, read), sends again with the same key
# whatever was not an answer (no answer, 5xx, 409 in flight, 429), by another
# gateway when there are several, with growing jittered pauses. A ledger keeps every
# answer and every read with its time.
# Where answers name their worker (X-Worker), lost{} counts requests without one by the
# worker that had answered on that connection before.
# Invariant: what is in wrong() no fault excuses: a refusal of what was carried out,
# an older version than one that was acknowledged, a key that never gets its answer.
package Aegis::Chaos;

use v5.36;
use IO::Select;
use Time::HiRes qw(time);
use Aegis::Http;
use Aegis::Test;

# http: [Aegis::Http, ...]; clients; tag of the cases; seed; patience: seconds until a
# request that gets no answer is wrong (60); auto: the share of cases that workers move;
# rate: requests a second of all clients together, whatever the answers take (a request's
# time begins when it was due); without it each asks again at once.
sub new ($class, %args) {
    my $self = bless { clients => 8, patience => 60, auto => 0, seed => 1, n => {}, wrong => [], ledger => [], reads => [],
        slow => [], ids => [], serial => 0, %args }, $class;
    $self->{c} = [ map { { steps => [] } } 1 .. $self->{clients} ];
    return $self;
}

sub n ($self, $what) { return $self->{n}{$what} // 0 }
sub wrong ($self) { return @{ $self->{wrong} } }

# A generator of our own: what else asks for random numbers does not move it.
sub rand ($self, $n) {
    $self->{seed} = ($self->{seed} * 1103515245 + 12345) & 0x7fffffff;
    return ($self->{seed} >> 8) % $n;
}

sub _steps ($self, $c) {
    my $key = "$self->{tag}-" . ++$self->{serial};
    my $auto = $self->{auto} && $self->rand(100) < 100 * $self->{auto};
    my %body = (title => $key, mode => $auto ? 'auto' : 'manual', tags => [ $self->{tag} ],
        $auto ? (labels => { service => $key, env => 'staging', %{ $self->{labels} // {} } }) : ());
    my $move = sub ($v, $event) { sub { [200, 'PATCH', "/case/$c->{id}/transition", "$key-$v", { event => $event }, "\"$v\""] } };
    my $read = sub { [200, 'GET', "/case/$c->{id}"] };
    return (sub { [201, 'POST', '/case/create', "$key-0", \%body] }, $read, $auto ? () : ($move->(1, 'start_analysis'), $read, $move->(2, 'force_park'), $read));
}

sub _next ($self, $c) {
    if (!@{ $c->{steps} }) {
        @$c{qw(steps acked)} = ([ $self->_steps($c) ], 0);
    }
    my ($want, $method, $path, $key, $json, $if_match) = @{ (shift @{ $c->{steps} })->() };
    my $due = $self->{rate} ? ($self->{due} = ($self->{due} // time) + 1 / $self->{rate}) : 0;
    @$c{qw(want method path key json if_match first tries at)} = ($want, $method, $path, $key, $json, $if_match, $due || time, 0, $due);
    $self->_render($c);
}

sub _render ($self, $c) {
    my @h = (defined $c->{key} ? ('Idempotency-Key', $c->{key}) : (), defined $c->{if_match} ? ('If-Match', $c->{if_match}) : ());
    @$c{qw(out sent in)} = ($self->{http}[0]->render($c->{method}, $c->{path}, headers => \@h, $c->{json} ? (json => $c->{json}) : ()), 0, '');
}

sub _wrong ($self, $c, $why) {
    push @{ $self->{wrong} }, "$c->{method} $c->{path} (" . ($c->{key} // '') . "): $why";
    delete $c->{s};
    $c->{steps} = [];
    $self->_next($c);
}

# No answer, or one that says: again.
sub _again ($self, $c, $why) {
    $self->{n}{$why}++;
    $self->{lost}{ $c->{by} // 'new' }++ if $why =~ /^no answer/;
    return $self->_wrong($c, sprintf '%s after %d tries in %.0f s', $why, $c->{tries}, time - $c->{first})
        if time - $c->{first} > $self->{patience} * (is_san ? 3 : 1);
    my $ms = 20 << ($c->{tries} < 6 ? $c->{tries} : 6);
    $c->{at} = time + ($ms / 2 + $self->rand($ms)) / 1000;
    $c->{tries}++;
    $self->_render($c);
}

sub _answered ($self, $c, $r) {
    my $now = time;
    my $close = $r->{close} || length $c->{in};
    $c->{by} = $r->header('x-worker');
    delete $c->{s} if $close;
    $self->{n}{answered}++;
    $self->{n}{"status $_"}++ for $r->status;
    push @{ $self->{ledger} }, [$c->{path} =~ s{/[0-9a-f-]{36}/}{/{id}/}r, $c->{key}, $r, $now] if defined $c->{key};
    return $self->_again($c, 'in flight') if $r->problem eq 'idempotency-key-in-flight';
    return $self->_again($c, $r->status) if $r->status >= 500 || $r->status == 429;
    return $self->_wrong($c, $r->brief) if $r->status != $c->{want};
    push @{ $self->{slow} }, $now - $c->{first};
    $self->{last_ok} = $now;
    my $v = $r->json->{version} // 0;
    if ($c->{want} == 201) { push @{ $self->{ids} }, $c->{id} = $r->json->{case_id} }
    if ($c->{method} eq 'GET') {
        push @{ $self->{reads} }, [$c->{id}, $v, $c->{sent_at}, $now];
        return $self->_wrong($c, "version $v was read after $c->{acked} was acknowledged") if $v < $c->{acked};
    }
    $c->{acked} = $v if $v > $c->{acked};
    $self->{n}{first}++ if defined $c->{key};
    $self->_next($c);
}

sub _open ($self, $c) {
    my $http = $self->{http}[ $self->rand(scalar @{ $self->{http} }) ];
    eval { $c->{s} = $http->open_socket; 1 } or return $self->_again($c, 'no connection');
    delete $c->{by};
    $self->{n}{connections}++;
}

# Go on until code, which is asked after each round, says so; then until every client
# has its answer.
sub drive ($self, $done, $timeout = 60) {
    $self->_next($_) for grep { !defined $_->{out} } @{ $self->{c} };
    my $until = time + $timeout * (is_san ? 3 : 1);
    my $ending = 0;
    while (1) {
        $ending ||= $done->() || time > $until;
        my $now = time;
        my @c = grep { !$ending || $_->{tries} || $_->{s} && $_->{sent} } @{ $self->{c} };
        last if $ending && !@c;
        for my $c (@c) { $self->_open($c) if !$c->{s} && $c->{at} <= $now }
        my ($next) = sort { $a <=> $b } 0.01, map { $_->{at} - $now } grep { $_->{at} > $now } @c;
        @c = grep { $_->{s} && $_->{at} <= $now } @c;
        my ($rd, $wr, $ready) = (IO::Select->new(map { $_->{s} } @c), IO::Select->new(map { $_->{s} } grep { $_->{sent} < length $_->{out} } @c), 0);
        $ready ||= $_->{s}->can('pending') && $_->{s}->pending for @c;
        IO::Select->select($rd, $wr, undef, $ready ? 0 : $next);
        $self->_turn($_) for @c;
    }
    return time <= $until;
}

sub _turn ($self, $c) {
    my $s = $c->{s};
    $c->{sent_at} = time if $c->{sent} == 0;
    if ($c->{sent} < length $c->{out}) {
        my $n = syswrite $s, $c->{out}, length($c->{out}) - $c->{sent}, $c->{sent};
        if (defined $n) { $c->{sent} += $n }
        elsif (!Aegis::Http::_later()) { delete $c->{s}; return $self->_again($c, 'no answer') }
    }
    my $n = sysread $s, $c->{in}, 65536, length $c->{in};
    my $end = defined $n ? $n == 0 : !Aegis::Http::_later();
    my $r = Aegis::Http::_parse(\$c->{in}, 0, $end);
    return $self->_answered($c, $r) if $r;
    if ($end) { delete $c->{s}; return $self->_again($c, 'no answer') }
    if (time - $c->{sent_at} > 20 * (is_san ? 3 : 1)) { delete $c->{s}; $self->_again($c, 'no answer in 20 s') }
}

# The share p of all requests, retries included, took at most so many seconds.
sub quantile ($self, $p) {
    my @s = sort { $a <=> $b } @{ $self->{slow} };
    return @s ? $s[ int $p * $#s ] : 0;
}

# What was noted, into the ledgers of Aegis::Invariants; and is forgotten here.
sub settle ($self, $inv) {
    $inv->{dbh}->begin_work;
    $inv->client('default', $_->[1], $_->[0], $_->[2], $_->[3]) for @{ $self->{ledger} };
    $inv->read('default', @$_) for @{ $self->{reads} };
    $inv->{dbh}->commit;
    $self->{$_} = [] for qw(ledger reads);
}

1;
