# Aegis::Nats: just enough of the NATS protocol for the tests: publish what no
# Aegis program would, read a stream to its end, purge it, look at consumers.
# Invariant: it creates no stream and no durable; those are the workers'.
package Aegis::Nats;

use v5.36;
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64 ();
use Time::HiRes qw(time);
use Aegis::Test;

# tls:// after the server's greeting, as NATS has it; ca: whom it has to be signed by.
sub new ($class, $url, %opt) {
    my ($scheme, $auth, $host, $port) = $url =~ m{^(nats|tls)://(?:([^@/]+)@)?([^:/]+):(\d+)}
        or die "bad NATS url $url";
    my $s = IO::Socket::INET->new(PeerHost => $host, PeerPort => $port, Timeout => 5)
        or die "cannot connect to NATS at $host:$port: $!\n";
    my $self = bless { s => $s, in => '', sid => 0, inbox => '_INBOX.' . new_key('t') }, $class;
    $self->_line =~ /^INFO/ or die "no INFO from NATS";
    if ($scheme eq 'tls') {
        require IO::Socket::SSL;
        IO::Socket::SSL->start_SSL($s, SSL_ca_file => $opt{ca}, SSL_verifycn_scheme => 'http', SSL_hostname => $host)
            or die "NATS: TLS: $IO::Socket::SSL::SSL_ERROR\n";
    }
    my %connect = (verbose => JSON::PP::false(), pedantic => JSON::PP::false(), headers => JSON::PP::true(),
                   lang => 'perl', version => '1', protocol => 1);
    if (defined $auth) {
        my ($u, $p) = split /:/, $auth, 2;
        if (defined $p) { @connect{qw(user pass)} = ($u, $p) } else { $connect{auth_token} = $u }
    }
    $self->_send('CONNECT ' . json_encode(\%connect) . "\r\nPING\r\n");
    my $line;
    do { $line = $self->_line; die "NATS: $line" if $line =~ /^-ERR/ } until $line =~ /^PONG/;
    $self->_send("SUB $self->{inbox}.* 1\r\n");
    return $self;
}

sub _send ($self, $bytes) {
    while (length $bytes) {
        my $n = syswrite $self->{s}, $bytes or die "NATS: write: $!";
        substr $bytes, 0, $n, '';
    }
}

sub _fill ($self, $until) {
    my $left = $until - time;
    my $pending = $self->{s}->can('pending') && $self->{s}->pending;
    return 0 if !$pending && ($left <= 0 || !IO::Select->new($self->{s})->can_read($left));
    my $n = sysread $self->{s}, $self->{in}, 262144, length $self->{in};
    die "NATS closed the connection\n" unless $n;
    return 1;
}

sub _line ($self, $timeout = 10) {
    my $until = time + $timeout;
    while ($self->{in} !~ /\r\n/) { $self->_fill($until) or die "NATS: no answer\n" }
    $self->{in} =~ s/\A(.*?)\r\n//s;
    return $1;
}

# The next message: {subject, reply, headers, body}.
sub _next ($self, $timeout) {
    my $until = time + $timeout;
    while (1) {
        if ($self->{in} =~ /\A(H?MSG) (\S+) \S+ ([^\r\n]+)\r\n/) {
            my ($kind, $subject, $at) = ($1, $2, $+[0]);
            my @rest = split / /, $3;
            my $total = pop @rest;
            my $hdr = $kind eq 'HMSG' ? pop @rest : 0;
            my $reply = $rest[0];
            if (length($self->{in}) >= $at + $total + 2) {
                my $all = substr $self->{in}, $at, $total;
                substr $self->{in}, 0, $at + $total + 2, '';
                return { subject => $subject, reply => $reply // '',
                         headers => substr($all, 0, $hdr), body => substr($all, $hdr) };
            }
        }
        elsif ($self->{in} =~ s/\APING\r\n//) { $self->_send("PONG\r\n"); next }
        elsif ($self->{in} =~ s/\A(?:PONG|\+OK)\r\n//) { next }
        elsif ($self->{in} =~ /\A(-ERR[^\r\n]*)\r\n/) { die "NATS: $1\n" }
        $self->_fill($until) or return undef;
    }
}

sub _pub ($self, $subject, $body, $reply, %headers) {
    if (%headers) {
        my $h = "NATS/1.0\r\n" . join('', map { "$_: $headers{$_}\r\n" } sort keys %headers) . "\r\n";
        $self->_send("HPUB $subject $reply " . length($h) . ' ' . (length($h) + length $body)
            . "\r\n$h$body\r\n");
    }
    else { $self->_send("PUB $subject $reply " . length($body) . "\r\n$body\r\n") }
}

sub request ($self, $subject, $body = '', %headers) {
    my $reply = "$self->{inbox}." . ++$self->{sid};
    $self->_pub($subject, $body, $reply, %headers);
    my $until = time + 10;
    while (my $m = $self->_next($until - time)) {
        return $m if $m->{subject} eq $reply;
    }
    die "NATS: no answer to $subject\n";
}

# Publish into a stream and wait until it is stored. Returns its sequence.
sub publish ($self, $subject, $body, %opt) {
    my $m = $self->request($subject, $body, 'Nats-Msg-Id' => $opt{id} // new_key('msg'));
    my $a = eval { json_decode($m->{body}) } // {};
    die "NATS did not store $subject: $m->{headers}$m->{body}\n" if $a->{error} || !$a->{seq};
    return $a->{seq};
}

sub api ($self, $what, $body = {}) {
    my $m = $self->request("\$JS.API.$what", json_encode($body));
    return json_decode($m->{body});
}

sub stream ($self, $name) { return $self->api("STREAM.INFO.$name") }
sub consumer ($self, $stream, $durable) { return $self->api("CONSUMER.INFO.$stream.$durable") }
sub purge ($self, $name, %opt) { return $self->api("STREAM.PURGE.$name", \%opt) }

# Every message that a stream holds, oldest first: {seq, subject, headers, body}.
sub messages ($self, $name, $from = undef) {
    my $state = $self->stream($name)->{state} or die "no stream $name\n";
    my ($first, $last) = ($from // $state->{first_seq}, $state->{last_seq});
    my (%got, %sent);
    my $next = $first;
    while (1) {
        while ($next <= $last && keys(%sent) < 256) {
            my $reply = "$self->{inbox}." . ++$self->{sid};
            $self->_pub("\$JS.API.STREAM.MSG.GET.$name", json_encode({ seq => $next }), $reply);
            $sent{$reply} = $next++;
        }
        last unless %sent;
        my $m = $self->_next(10) or die "NATS: stream $name cannot be read\n";
        my $seq = delete $sent{ $m->{subject} } // next;
        my $msg = json_decode($m->{body})->{message} or next;      # deleted meanwhile
        $got{$seq} = { seq => $seq, subject => $msg->{subject},
                       headers => MIME::Base64::decode_base64($msg->{hdrs} // ''),
                       body => MIME::Base64::decode_base64($msg->{data} // '') };
    }
    return map { $got{$_} } sort { $a <=> $b } keys %got;
}

# What is published to a subject from now on, without a consumer: the bodies that
# have arrived when the socket can be read.
# (each with a number of its own: the server takes no second one under the same)
sub listen ($self, $subject) { $self->_send("SUB $subject " . (2 + $self->{listening}++) . "\r\n") }
sub socket ($self) { return $self->{s} }

sub heard ($self) {
    $self->_fill(time + 1);
    my @m;
    while (my $m = $self->_next(0)) { push @m, $m->{body} }
    return @m;
}

sub close ($self) { CORE::close($self->{s}) }

1;
