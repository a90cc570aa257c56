# Aegis::Load: clients that write and read without a pause while something is
# done to the gateway, and a ledger of what each was answered. A client keeps its
# connection, obeys Connection: close, and sends again in one case only: the
# connection had answered before and was closed before any byte of this answer;
# then with the same key.
# Invariant: whatever else does not end in the expected answer is in lost().
package Aegis::Load;

use v5.36;
use IO::Select;
use Time::HiRes qw(time);
use Aegis::Http;
use Aegis::Test;

# http: an Aegis::Http; clients; tag: of the cases that are made.
sub new ($class, %args) {
    my $self = bless { clients => 8, n => {}, lost => [], ledger => [], serial => 0, %args }, $class;
    $self->{c} = [ map { { steps => [] } } 1 .. $self->{clients} ];
    return $self;
}

sub n ($self, $what) { return $self->{n}{$what} // 0 }
sub lost ($self) { return @{ $self->{lost} } }
# [route, key, answer] of each write.
sub ledger ($self) { return @{ $self->{ledger} } }

# One case: made, moved, read.
sub _next ($self, $c) {
    if (!@{ $c->{steps} }) {
        my $key = "$self->{tag}-" . ++$self->{serial};
        $c->{steps} = [
            sub { [201, 'POST', '/case/create', "$key-a", { title => $key, mode => 'manual', tags => [ $self->{tag} ] }] },
            sub { [200, 'PATCH', "/case/$c->{id}/transition", "$key-b", { event => 'force_park' }, '"1"'] },
            sub { [200, 'GET', "/case/$c->{id}"] },
        ];
    }
    my ($status, $method, $path, $key, $json, $if_match) = @{ (shift @{ $c->{steps} })->() };
    my @h = (defined $key ? ('Idempotency-Key', $key) : (), defined $if_match ? ('If-Match', $if_match) : ());
    @$c{qw(want method path key out sent in since)} = ($status, $method, $path, $key,
        $self->{http}->render($method, $path, headers => \@h, $json ? (json => $json) : ()), 0, '', time);
}

sub _open ($self, $c) {
    $c->{s} = $self->{http}->open_socket;
    $c->{served} = 0;
    $self->{n}{connections}++;
}

sub _lose ($self, $c, $why) {
    push @{ $self->{lost} }, "$c->{method} $c->{path} (" . ($c->{key} // '') . "): $why";
    delete $c->{s};
    $c->{steps} = [];
    $self->_next($c);
}

sub _answered ($self, $c, $r) {
    $self->{n}{answered}++;
    push @{ $self->{ledger} }, [$c->{path} =~ s{/[0-9a-f-]{36}/}{/{id}/}r, $c->{key}, $r] if defined $c->{key};
    delete $c->{s} if $r->{close} || length $c->{in};
    $c->{served}++;
    return $self->_lose($c, $r->brief) if $r->status != $c->{want};
    $c->{id} = $r->json->{case_id} if $c->{want} == 201;
    return $self->_lose($c, 'an older version was read') if $c->{method} eq 'GET' && $r->json->{version} != 2;
    $self->_next($c);
}

# The connection has ended with a request on it.
sub _ended ($self, $c) {
    return $self->_lose($c, 'closed in the middle of an answer') if length $c->{in};
    return $self->_lose($c, 'closed before any answer on it') if !$c->{served};
    $self->{n}{resent}++;
    delete $c->{s};
    @$c{qw(sent since)} = (0, time);
}

# Go on until code, which is asked after each round, says so; then until every
# client has its answer.
sub drive ($self, $done, $timeout = 60) {
    $self->_next($_) for grep { !defined $_->{out} } @{ $self->{c} };
    my $until = time + $timeout * (is_san ? 3 : 1);
    my $ending = 0;
    while (1) {
        $ending ||= $done->() || time > $until;
        my @c = grep { !$ending || $_->{s} && ($_->{sent} || length $_->{in}) } @{ $self->{c} };
        last if $ending && !@c;
        for my $c (@c) {
            next if $c->{s};
            eval { $self->_open($c); 1 } or $self->_lose($c, "no connection: $@");
        }
        @c = grep { $_->{s} } @c;
        my ($rd, $wr, $now) = (IO::Select->new(map { $_->{s} } @c), IO::Select->new(map { $_->{s} } grep { $_->{sent} < length $_->{out} } @c), 0);
        $now ||= $_->{s}->can('pending') && $_->{s}->pending for @c;
        IO::Select->select($rd, $wr, undef, $now ? 0 : 0.02);
        $self->_turn($_) for @c;
        if (my ($c) = grep { $_->{sent} && time - $_->{since} > 30 * (is_san ? 3 : 1) } @c) { $self->_lose($c, 'no answer') }
    }
    return time <= $until;
}

sub _turn ($self, $c) {
    # a kept connection that was closed meanwhile is seen before anything is sent
    if ($c->{sent} == 0 && $c->{served}) {
        my $n = sysread $c->{s}, my $byte, 1;
        if (defined $n || !Aegis::Http::_later()) { $self->{n}{closed_idle}++; delete $c->{s}; return }
    }
    if ($c->{sent} < length $c->{out}) {
        my $n = syswrite $c->{s}, $c->{out}, length($c->{out}) - $c->{sent}, $c->{sent};
        if (defined $n) { $c->{sent} += $n }
        elsif (!Aegis::Http::_later()) { return $self->_ended($c) }
    }
    my $n = sysread $c->{s}, $c->{in}, 65536, length $c->{in};
    my $end = defined $n ? $n == 0 : !Aegis::Http::_later();
    my $r = Aegis::Http::_parse(\$c->{in}, 0, $end);
    return $self->_answered($c, $r) if $r;
    $self->_ended($c) if $end;
}

1;
