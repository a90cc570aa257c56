# Aegis::Failpoint: arms the failpoints of core/tables/failpoints.def in a running
# installation that was built with them (make faults-built): all its processes
# share one file with us, a slot a point. t/failpoint/README.md says more.
# Invariant: the slots are laid out here as in t/failpoint/aegis_failpoint.c.
package Aegis::Failpoint;

use v5.36;
use Fcntl qw(O_RDWR SEEK_SET);
use Aegis::Def;
use Aegis::Test;

my $SLOT = 112;
my %what = (nothing => 0, kill => 1, stall => 2, error => 3, lose => 3);

# {name, who, what => [...]} of every point.
sub points ($class) {
    return map { { name => $_->[1], who => $_->[2], what => [split ' ', $_->[3]], why => $_->[4] } }
        def_rows('failpoints', 'AEGIS_FAILPOINT');
}

# A new file; give its name to the installation as AEGIS_FAILPOINTS.
sub new ($class, $file) {
    my @points = $class->points;
    spew($file, join '', map { pack 'a32 a16 l5 x44', $_->{name}, '', 0, 0, 0, 0, 0 } @points);
    chmod 0666, $file;
    sysopen my $f, $file, O_RDWR or die "$file: $!";
    my $n = 0;
    return bless { file => $file, f => $f, at => { map { $_->{name} => $SLOT * $n++ } @points } }, $class;
}

sub _put ($self, $name, $offset, $bytes) {
    sysseek $self->{f}, ($self->{at}{$name} // die "no failpoint $name\n") + $offset, SEEK_SET;
    syswrite($self->{f}, $bytes) == length $bytes or die "$self->{file}: $!";
}

sub _get ($self, $name, $offset) {
    sysseek $self->{f}, ($self->{at}{$name} // die "no failpoint $name\n") + $offset, SEEK_SET;
    sysread($self->{f}, my $bytes, 4) == 4 or die "$self->{file}: $!";
    return unpack 'l', $bytes;
}

# opt: who (a role, anybody), nth (1: the next hit; 0: each until disarm), ms of a stall.
sub arm ($self, $name, $what, %opt) {
    $self->disarm($name);
    $self->_put($name, 32, pack 'a16', $opt{who} // '');
    $self->_put($name, 52, pack 'l2', $opt{nth} // 1, $opt{ms} // 1000);
    $self->_put($name, 48, pack 'l', $what{$what} // die "nobody can $what\n");
}

sub disarm ($self, $name) { $self->_put($name, 48, pack 'l', 0) }
sub disarm_all ($self) { $self->disarm($_) for keys %{ $self->{at} } }
sub hits ($self, $name) { return $self->_get($name, 60) }
sub fired ($self, $name) { return $self->_get($name, 64) }

1;
