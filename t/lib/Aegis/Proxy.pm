# Aegis::Proxy: t/tools/fault_proxy.c in front of a port of 127.0.0.1: its commands
# are at the head of that file.
package Aegis::Proxy;

use v5.36;
use IO::Socket::INET;
use Aegis::Test;

sub new ($class, $name, $port) {
    my $self = bless { port => free_port(), control => free_port() }, $class;
    $self->{p} = start_process("proxy-$name", [build_dir . '/t/tools/fault_proxy', $self->{port}, $self->{control}, '127.0.0.1', $port]);
    wait_for('the proxy to listen', 10, sub { eval { $self->say('stats'); 1 } }) or die "the proxy did not start\n";
    return $self;
}

sub port ($self) { return $self->{port} }

# A command; returns (connections, cuts).
sub say ($self, $command) {
    my $s = IO::Socket::INET->new(PeerHost => '127.0.0.1', PeerPort => $self->{control}, Timeout => 5) or die "no proxy: $!\n";
    syswrite $s, "$command\n";
    my $answer = <$s> // '';
    $answer =~ /^ok (\d+) (\d+)/ or die "the proxy does not know '$command'\n";
    return ($1, $2);
}

sub cuts ($self) { return ($self->say('stats'))[1] }
sub stop ($self) { stop_process($self->{p}) }

1;
