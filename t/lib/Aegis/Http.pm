# Aegis::Http: an HTTP client that shows what is on the wire: every header line
# in order, the body's bytes, requests that no decent client would send.
# Invariant: it never retries and never follows; one call is one request. With
# crowd() many connections send at once and each answer is kept.
package Aegis::Http;

use v5.36;
use Errno qw(EAGAIN EWOULDBLOCK EINTR);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::SSL ();
use Time::HiRes qw(time);
use Aegis::Test;

$SIG{PIPE} = 'IGNORE';

# args: url, ca (file), token, timeout; cert and key (files) of a client
sub new ($class, %args) {
    my $self = bless { timeout => 30, %args }, $class;
    ($self->{scheme}, $self->{host}, $self->{port}) =
        $args{url} =~ m{^(https?)://([^/:]+):(\d+)} or die "bad url $args{url}";
    return $self;
}

sub with ($self, %args) { return bless { %$self, %args, sock => undef }, ref $self }

sub open_socket ($self) {
    my %to = (PeerHost => $self->{host}, PeerPort => $self->{port}, Timeout => $self->{connect_timeout} // 10);
    my $s = $self->{scheme} eq 'http' ? IO::Socket::INET->new(%to, Proto => 'tcp')
        : IO::Socket::SSL->new(%to, SSL_ca_file => $self->{ca},
              SSL_verifycn_scheme => 'http', SSL_hostname => $self->{host},
              ($self->{cert} ? (SSL_cert_file => $self->{cert}, SSL_key_file => $self->{key}) : ()));
    die "cannot connect to $self->{host}:$self->{port}: "
        . ($IO::Socket::SSL::SSL_ERROR || $@ || $!) . "\n" unless $s;
    $s->blocking(0);
    return $s;
}

# The bytes of a request. headers: [name, value, ...]; a value undef leaves a
# default header out.
sub render ($self, $method, $path, %req) {
    my @h = @{ $req{headers} // [] };
    my %given;
    for (my $i = 0; $i < @h; $i += 2) { $given{ lc $h[$i] } = 1 }
    my $body = $req{body};
    $body = json_encode($req{json}) if exists $req{json};
    my @out;
    push @out, 'Host', "$self->{host}:$self->{port}" unless $given{host};
    push @out, 'Authorization', "Bearer $self->{token}"
        if defined $self->{token} && !$given{authorization};
    if (defined $body) {
        push @out, 'Content-Type', 'application/json' unless $given{'content-type'};
        push @out, 'Content-Length', length $body
            unless $given{'content-length'} || $given{'transfer-encoding'};
    }
    my $text = "$method $path HTTP/1.1\r\n";
    @h = (@out, @h);
    for (my $i = 0; $i < @h; $i += 2) {
        $text .= "$h[$i]: $h[$i + 1]\r\n" if defined $h[$i + 1];
    }
    return "$text\r\n" . ($body // '');
}

# What was answered so far, for t/lib/Aegis/Stack.pm to hold against openapi.json:
# "METHOD /path" => { status => 1 }.
our %seen;

sub _note ($method, $path, $answer) {
    $seen{ "$method " . ($path =~ s/\?.*//sr) }{ $answer->{status} } = 1;
    return $answer;
}

sub request ($self, $method, $path, %req) {
    return _note($method, $path,
        $self->raw($self->render($method, $path, %req), head => $method eq 'HEAD'));
}

sub get ($self, $path, %req) { return $self->request('GET', $path, %req) }

# A write with a key: POST or PATCH.
sub write ($self, $method, $path, $json, %req) {
    my @h = @{ $req{headers} // [] };
    push @h, 'Idempotency-Key', $req{key} // new_key() unless $req{no_key};
    push @h, 'If-Match', $req{if_match} if defined $req{if_match};
    delete @req{qw(key no_key if_match)};
    return $self->request($method, $path, %req, headers => \@h,
        (ref $json ? (json => $json) : (body => $json)));
}

# Send bytes, read one answer. The connection is kept when the answer allows.
sub raw ($self, $bytes, %opt) {
    $self->_drop_if_closed if length $bytes;
    my $s = $self->{sock} //= $self->open_socket;
    my $until = time + ($opt{timeout} // $self->{timeout}) * (is_san ? 3 : 1);
    my ($sent, $in) = (0, '');
    while (1) {
        if ($sent < length $bytes) {
            my $n = syswrite $s, $bytes, length($bytes) - $sent, $sent;
            if (defined $n) { $sent += $n }
            elsif (!_later()) { $sent = length $bytes }    # the answer says why
        }
        my $n = sysread $s, $in, 65536, length $in;
        my $r = _parse(\$in, $opt{head}, defined $n && $n == 0);
        if ($r) {
            delete $self->{sock}
                if $r->{close} || length $in || (defined $n && $n == 0);
            return $r;
        }
        if (defined $n && $n == 0 || !defined $n && !_later()) {
            delete $self->{sock};
            return _no_answer($in);
        }
        my $left = $until - time;
        if ($left <= 0) { delete $self->{sock}; return _no_answer($in) }
        next if $s->can('pending') && $s->pending;
        my $sel = IO::Select->new($s);
        if ($sent < length $bytes) { IO::Select->select($sel, $sel, undef, $left) }
        else { $sel->can_read($left) }
    }
}

sub close ($self) { delete $self->{sock} }

# A kept connection that the server has closed meanwhile is not used again.
sub _drop_if_closed ($self) {
    my $s = $self->{sock} or return;
    my $n = sysread $s, my $byte, 1;
    delete $self->{sock} if defined $n || !_later();
}

# Many requests over many connections. requests: array of {method, path, ...}
# as for request(). opt: connections; each => sub ($index, $answer). Every
# connection is open before the first byte is sent. Returns answers in order.
sub crowd ($self, $requests, %opt) {
    my $n_conns = $opt{connections} // @$requests;
    $n_conns = @$requests if $n_conns > @$requests;
    my $timeout = ($opt{timeout} // 60) * (is_san ? 3 : 1);
    my @answers;
    my $next = 0;
    my %conn;
    my $take = sub ($c) {
        return 0 if $next >= @$requests;
        my $q = $requests->[$next];
        @$c{qw(i out sent in head)} = ($next++, $self->render($q->{method}, $q->{path}, %$q), 0, '',
                                       $q->{method} eq 'HEAD');
        return 1;
    };
    for (1 .. $n_conns) {
        my $s = $self->open_socket;
        $conn{ fileno $s } = { s => $s };
    }
    $take->($_) for values %conn;
    my $until = time + $timeout;
    while (%conn && time < $until) {
        my ($rd, $wr) = (IO::Select->new, IO::Select->new);
        my $pending = 0;
        for my $c (values %conn) {
            $rd->add($c->{s});
            $wr->add($c->{s}) if $c->{sent} < length $c->{out};
            $pending ||= $c->{s}->can('pending') && $c->{s}->pending;
        }
        IO::Select->select($rd, $wr, undef, $pending ? 0 : $until - time);
        for my $fd (keys %conn) {
            my $c = $conn{$fd};
            if ($c->{sent} < length $c->{out}) {
                my $n = syswrite $c->{s}, $c->{out}, length($c->{out}) - $c->{sent}, $c->{sent};
                if (defined $n) { $c->{sent} += $n }
            }
            my $n = sysread $c->{s}, $c->{in}, 65536, length $c->{in};
            my $end = defined $n ? $n == 0 : !_later();
            my $r = _parse(\$c->{in}, $c->{head}, $end) // ($end ? _no_answer($c->{in}) : next);
            $answers[ $c->{i} ] = $r;
            _note($requests->[ $c->{i} ]{method}, $requests->[ $c->{i} ]{path}, $r);
            $opt{each}->($c->{i}, $r) if $opt{each};
            if ($r->{close} || $end) {
                delete $conn{$fd};
                if ($next < @$requests) {
                    my $s = $self->open_socket;
                    $take->($conn{ fileno $s } = { s => $s });
                }
            }
            elsif (!$take->($c)) { delete $conn{$fd} }
        }
    }
    $answers[$_] //= _no_answer('') for 0 .. $#$requests;
    return @answers;
}

sub _later () {
    return $!{EAGAIN} || $!{EWOULDBLOCK} || $!{EINTR}
        || ($IO::Socket::SSL::SSL_ERROR // 0) == IO::Socket::SSL::SSL_WANT_READ()
        || ($IO::Socket::SSL::SSL_ERROR // 0) == IO::Socket::SSL::SSL_WANT_WRITE();
}

sub _no_answer ($in) {
    return bless { status => 0, headers => [], body => '', partial => $in, close => 1 },
        'Aegis::Http::Answer';
}

# Take one answer off the front of $$in, or undef when it is not all there.
sub _parse ($in, $head, $eof) {
    while (1) {
        $$in =~ /\A(HTTP\/1\.[01] (\d{3})[^\r\n]*)\r\n((?:[^\r\n]+\r\n)*)\r\n/ or return undef;
        my ($status, $lines, $start) = ($2, $3, $+[0]);
        if ($status =~ /^1/) { substr $$in, 0, $start, ''; next }
        my @headers = map { /^([^:]+):\s*(.*?)\s*$/ ? [$1, $2] : [$_, ''] } split /\r\n/, $lines;
        my $r = bless { status => $status + 0, headers => \@headers }, 'Aegis::Http::Answer';
        my $length = $r->header('content-length');
        my $te = $r->header('transfer-encoding') // '';
        my ($body, $end);
        if ($head || $status == 204 || $status == 304) { ($body, $end) = ('', $start) }
        elsif ($te =~ /chunked/) {
            my $at = $start;
            $body = '';
            while (1) {
                pos($$in) = $at;
                $$in =~ /\G([0-9a-fA-F]+)[^\r\n]*\r\n/gc or return undef;
                my $n = hex $1;
                $at = pos $$in;
                return undef if length($$in) < $at + $n + 2;
                $body .= substr $$in, $at, $n;
                $at += $n + 2;
                if ($n == 0) { $end = $at; last }
            }
        }
        elsif (defined $length) {
            return undef if length($$in) < $start + $length;
            ($body, $end) = (substr($$in, $start, $length), $start + $length);
        }
        else {
            return undef unless $eof;
            ($body, $end) = (substr($$in, $start), length $$in);
        }
        substr $$in, 0, $end, '';
        $r->{body} = $body;
        $r->{close} = 1 if lc($r->header('connection') // '') eq 'close'
            || (!defined $length && $te !~ /chunked/ && !$head && $status !~ /^(204|304)$/);
        return $r;
    }
}

package Aegis::Http::Answer;

use v5.36;

sub status ($self) { return $self->{status} }
sub body ($self) { return $self->{body} }

# The first header of that name; all() has every one.
sub header ($self, $name) { return ($self->all($name))[0] }

sub all ($self, $name) {
    return map { $_->[1] } grep { lc $_->[0] eq lc $name } @{ $self->{headers} };
}

sub json ($self) {
    return $self->{json} //= eval { Aegis::Test::json_decode($self->{body}) } // {};
}

# The last part of the problem type, '' when it is not a problem document.
sub problem ($self) {
    return '' unless ($self->header('content-type') // '') =~ m{^application/problem\+json};
    my $type = $self->json->{type} // '';
    return $type =~ /^urn:aegis:problem:(.+)/ ? $1 : '';
}

# What a test that failed wants to see.
sub brief ($self) {
    return "$self->{status} " . ($self->problem || '') . ' '
        . substr($self->{body} // '', 0, 400);
}

1;
