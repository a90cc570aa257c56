# 78cgroup.t: control groups of scripts where version 2 has the controllers, as hosts
# with systemd have them: memory.max, pids.max and cgroup.kill are the kernel's own,
# and a group may hand controllers on only when no process is in it. A virtual machine
# boots Debian's kernel with t/vm/cgroup_probe.c as its only program. Only
# `make cgroup-test` runs it: it needs qemu, busybox-static, cpio and that kernel.
use v5.36;
use lib 't/lib';
use File::Path qw(make_path);
use Test::More;
use Aegis::Test;

plan skip_all => 'a virtual machine: make cgroup-test' unless my $kernel = $ENV{AEGIS_T_VM_KERNEL};
skip_unless(qw(qemu-system-x86_64 busybox cpio gzip gcc));

my $dir = scratch('vm');
make_path(map { "$dir/root/$_" } qw(bin proc sys dev));
run_ok(['cp', '/bin/busybox', "$dir/root/bin/busybox"]);
run_ok(['gcc', '-static', '-O1', '-D_GNU_SOURCE', (map { '-I' . root . "/$_" } qw(core workers/lib workers/roles/exec)), root . '/t/vm/cgroup_probe.c',
    (map { root . "/workers/roles/exec/aegis_script_$_.c" } qw(cgroup limits)), '-o', "$dir/root/probe"]);
spew("$dir/root/init", <<'END');
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 none /sys/fs/cgroup
cd /sys/fs/cgroup
echo "kernel $(uname -r): $(cat cgroup.controllers)"
echo "+memory +pids" >cgroup.subtree_control
inside() { sh -c "echo \$\$ >/sys/fs/cgroup/$1/cgroup.procs; exec $2 $3"; }
mkdir folder unit
echo == named; /probe /sys/fs/cgroup/folder
echo == not delegated; inside unit /probe auto
/probe delegate /sys/fs/cgroup/unit
echo == delegated; inside unit /probe auto
echo == left: $(find folder unit -mindepth 1 -type d) $(cat folder/cgroup.procs unit/cgroup.procs)
poweroff -f
END
chmod 0755, "$dir/root/init";
run_ok(['sh', '-c', "cd '$dir/root' && find . | cpio -o -H newc | gzip -1 >'$dir/initrd'"]);
my $kvm = -w '/dev/kvm' && slurp('/proc/cpuinfo') =~ /\b(?:vmx|svm)\b/ ? 'kvm' : 'tcg';
my $r = run(['qemu-system-x86_64', '-machine', "accel=$kvm", '-cpu', 'max', '-m', '700', '-nographic', '-no-reboot', '-kernel', $kernel, '-initrd', "$dir/initrd",
    '-append', 'console=ttyS0 quiet panic=1'], timeout => 240);
my $said = $r->{out} =~ s/\r//gr;
my ($has) = $said =~ /^(kernel .*)/m;
like($has // $said, qr/\bmemory\b.*\bpids\b/, 'version 2 has the controllers') or BAIL_OUT('the machine did not boot');
diag($has);
my %part = $said =~ /^== (named|not delegated|delegated)\n(.*?)(?=^==)/msg;

for my $how ('named', 'delegated') {
    subtest "a group that is $how" => sub {
        my $p = $part{$how} // '';
        like($p, qr/^open: 1 memory 100 processes 40 why ''$/m, 'is divided, with both limits');
        like($p, qr/^nothing: exit 0 signal 0 lack ''$/m, 'who takes nothing is let be');
        like($p, qr/^hog: exit -1 signal 9 lack ' \(out of memory: script\.group_memory_mb\)'$/m, 'four processes that want too much together end together, and it is said');
        like($p, qr/^many: exit 40 signal 0 lack ' \(out of processes: script\.group_processes\)'$/m, 'forty cannot become forty-one, and it is said');
        like($p, qr/^leave: exit 0 signal 0 lack ''$/m, 'who leaves others behind');
    };
}
like($part{'not delegated'} // '', qr/^open: 0 memory 0 processes 0 why 'the group \/unit is not delegated/m, 'a group that nobody has delegated is left alone');
like($said, qr/^== left: unit\/aegis-executor\s*$/m, 'no group and no process is left, whatever session it had');
done_testing;
