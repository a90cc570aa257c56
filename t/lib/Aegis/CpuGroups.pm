# Aegis::CpuGroups: a CPU group of its own for nginx, for PostgreSQL and for what
# asks them, with weights: what systemd makes of services once one of them has
# CPUWeight=. Without, the kernel's autogroups give each PostgreSQL session, which
# calls setsid(2), a share of the cores as large as all of nginx has.
# Both hierarchies of cgroups(7) will do; it takes root.
package Aegis::CpuGroups;

use v5.36;
use Aegis::Test;

my $WEIGHT = { 'cpu.shares' => 1024, 'cpu.weight' => 100 };     # the kernel's defaults
my $GROUPS = 4;                                                 # as many as measure at once

# undef where groups cannot be made. The groups together weigh boost times what
# they would weigh one by one.
sub new ($class, $name, $boost = 1) {
    my ($root) = grep { -w $_ && (-e "$_/cpu.shares" || _v2($_)) } qw(/sys/fs/cgroup/cpu /sys/fs/cgroup /sys/fs/cgroup/unified);
    my $dir = ($root // return undef) . "/aegis-$name-$$";
    mkdir $dir or return undef;
    my $self = bless { dir => $dir, made => {}, file => -e "$dir/cpu.shares" ? 'cpu.shares' : 'cpu.weight' }, $class;
    Aegis::Test::at_end(sub { $self->remove });
    _write("$dir/cgroup.subtree_control", '+cpu') if -e "$dir/cgroup.subtree_control";
    my $weight = $WEIGHT->{ $self->{file} } * $GROUPS * $boost;
    _write("$dir/$self->{file}", $self->{file} eq 'cpu.weight' && $weight > 10_000 ? 10_000 : $weight);
    return $self;
}

sub _v2 ($root) {
    return 0 unless -e "$root/cgroup.controllers" && slurp("$root/cgroup.controllers") =~ /\bcpu\b/;
    return slurp("$root/cgroup.subtree_control") =~ /\bcpu\b/ || _write("$root/cgroup.subtree_control", '+cpu');
}

sub _write ($file, $text) {
    open my $f, '>', $file or return 0;
    return syswrite($f, $text) ? 1 : 0;
}

# Into the group of that name, whose weight is set when it is made, in hundredths of
# the usual one as CPUWeight= is; what they start later is in it, too.
sub put ($self, $group, $weight, @pids) {
    my $dir = "$self->{dir}/$group";
    if (!$self->{made}{$group}++) {
        mkdir $dir or die "$dir: $!";
        _write("$dir/$self->{file}", int $WEIGHT->{ $self->{file} } * $weight / 100) or die "$dir: $!";
    }
    _write("$dir/cgroup.procs", $_) for @pids;
}

# Groups can go when what is in them has ended.
sub remove ($self) {
    wait_for('the CPU groups to be empty', 5, sub { !grep { -d "$self->{dir}/$_" && !rmdir "$self->{dir}/$_" } keys %{ $self->{made} } }, quiet => 1);
    rmdir $self->{dir};
}

1;
