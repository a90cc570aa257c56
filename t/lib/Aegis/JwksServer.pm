# Aegis::JwksServer: an https server of key sets that can be as bad as servers
# are. How it answers a path is said by a file that it reads at each request, so a
# test changes its mind without talking to it; what it did is in a log of facts.
package Aegis::JwksServer;

use v5.36;
use Digest::SHA qw(sha256_hex);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::SSL;
use Aegis::Test;

# dir, cert, key. Modes of a path: set (its text, with an ETag), hang (reads the
# request and says nothing), half (stops in the middle of the body), big (without
# a length), status-<n>, moved.
sub new ($class, %args) {
    my $self = bless { port => free_port(), %args }, $class;
    return $self;
}

sub url ($self, $name) { return "https://127.0.0.1:$self->{port}/$name" }
sub put ($self, $name, $mode, $text = undef) {
    spew_into("$self->{dir}/$name.text", $text) if defined $text;
    spew_into("$self->{dir}/$name.mode", $mode);
}

sub start ($self) {
    $self->{process} = start_process('jwks-server',
        [$^X, '-I' . root . '/t/lib', '-MAegis::JwksServer', '-e', 'Aegis::JwksServer::serve(@ARGV)', @$self{qw(dir port cert key)}]);
    wait_for('the server of key sets', 10, sub { IO::Socket::INET->new("127.0.0.1:$self->{port}") }) or die 'no server of key sets';
    return $self;
}

sub stop ($self) { stop_process(delete $self->{process}) if $self->{process} }

# How often a line was logged: "<name> <mode>", "<name> <mode> gone" when the client
# left, "<name> 304".
sub count ($self, $what) {
    my $log = eval { slurp("$self->{dir}/facts") } // '';
    return scalar grep { $_ eq $what } split /\n/, $log;
}

# --- in the server's process

sub fact ($dir, $what) {
    open my $f, '>>', "$dir/facts" or die "facts: $!";
    syswrite $f, "$what\n";
}

sub serve ($dir, $port, $cert, $key) {
    $SIG{CHLD} = 'IGNORE';
    my $listen = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => $port, ReuseAddr => 1) or die "listen: $!";
    while (1) {
        my $c = $listen->accept or next;
        my $pid = fork // next;
        next if $pid;
        close $listen;
        eval { one($dir, $c, $cert, $key) };
        exit 0;
    }
}

# Until the other side is gone, or the test is.
sub hold ($c, $dir, $what) {
    fact($dir, $what);
    my $sel = IO::Select->new($c);
    while (getppid > 1) {
        $sel->can_read(1) or next;
        my $n = sysread $c, my $byte, 1024;
        last if !defined $n && !$!{EAGAIN} && !$!{EWOULDBLOCK} || defined $n && $n == 0;
    }
    fact($dir, "$what gone");
}

sub one ($dir, $c, $cert, $key) {
    IO::Socket::SSL->start_SSL($c, SSL_server => 1, SSL_cert_file => $cert, SSL_key_file => $key, Timeout => 10) or return;
    my $in = '';
    while ($in !~ /\r\n\r\n/) { sysread($c, $in, 4096, length $in) or return }
    my ($name) = $in =~ m{^GET /([\w-]+) } or return;
    my $mode = slurp("$dir/$name.mode");
    my $text = $mode eq 'big' ? ' ' x (2 << 20) : eval { slurp("$dir/$name.text") } // '';
    my $tag = '"' . substr(sha256_hex($text), 0, 16) . '"';
    return hold($c, $dir, "$name hang") if $mode eq 'hang';
    if ($mode eq 'set' && $in =~ /^If-None-Match: \Q$tag\E\r$/mi) {
        fact($dir, "$name 304");
        return print $c "HTTP/1.1 304 Not Modified\r\nETag: $tag\r\nConnection: close\r\n\r\n";
    }
    fact($dir, "$name $mode");
    my $status = $mode =~ /^status-(\d+)/ ? "$1 Status" : $mode eq 'moved' ? '302 Found' : '200 OK';
    my $more = $mode eq 'moved' ? "Location: /other\r\n" : '';
    print $c "HTTP/1.1 $status\r\nContent-Type: application/json\r\nETag: $tag\r\nConnection: close\r\n$more";
    # without a length the client has to count by itself
    print $c $mode eq 'big' ? "\r\n" : 'Content-Length: ' . length($text) . "\r\n\r\n";
    return hold($c, $dir, "$name $mode held") if $mode eq 'half' && print $c substr $text, 0, 10;
    print $c $text;
}

1;
