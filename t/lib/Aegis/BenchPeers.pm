# Aegis::BenchPeers: the systems of t/bench/peers, one Node process each, on a
# database of their own in the cluster that Aegis was measured on.
# Invariant: a peer is measured as Aegis is: cases at once, cases, and the CPU of
# its process and of PostgreSQL.
package Aegis::BenchPeers;

use v5.36;
use IPC::Open2;
use Aegis::Test;

our @systems = qw(pgboss dbos);

sub new ($class, $bench, $system) {
    my $pg = $bench->pg;
    my $dir = build_dir . '/t/bench/peers';
    run_ok(['psql', '-Xq', '-h', $pg->{host}, '-p', $pg->{port}, '-U', $pg->{superuser}, '-d', 'postgres', '-c', "CREATE DATABASE bench_$system"],
        env => { PGPASSWORD => $pg->{password} });
    my $url = "postgresql://$pg->{superuser}:$pg->{password}\@$pg->{host}:$pg->{port}/bench_$system";
    my $pid = open2(my $out, my $in, "$dir/node_modules/.bin/node", "$dir/peer.mjs", $system, $url);
    my $self = bless { bench => $bench, system => $system, pid => $pid, in => $in, out => $out }, $class;
    $self->_line =~ /^ready/ or die "$system did not start\n";
    $self->cases(64, 200);                # warm
    return $self;
}

sub _line ($self) {
    local $SIG{ALRM} = sub { die "$self->{system} did not answer\n" };
    alarm 120;
    my $line = readline $self->{out};
    alarm 0;
    return $line // die "$self->{system} ended\n";
}

sub cases ($self, $conc, $total) {
    syswrite $self->{in}, "$conc $total\n";
    return json_decode($self->_line);
}

sub measured ($self, $conc, $total) {
    my $b = $self->{bench};
    local $b->{peer} = { pid => $self->{pid} };
    my $r;
    my $m = $b->_measured(sub { $r = $self->cases($conc, $total); {} });
    my ($kb) = slurp("/proc/$self->{pid}/status") =~ /^VmRSS:\s+(\d+)/m;
    return { system => $self->{system}, %$r, cpu_s_per_1000 => ($m->{cpu}{pg} + $m->{cpu}{peer}) / $total * 1000,
        rss_mib => $kb / 1024, foreign_cores => $m->{foreign} };
}

sub stop ($self) {
    close $self->{in};
    wait_for("$self->{system} to end", 10, sub { waitpid($self->{pid}, 1) != 0 }, quiet => 1) or kill KILL => $self->{pid};
}

1;
