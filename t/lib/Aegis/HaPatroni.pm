# Aegis::HaPatroni: the hosts of Aegis::Ha with their two databases under Patroni, as
# deploy/ha/patroni has it: an etcd beside each nats-server, a Patroni on each database
# host that makes, promotes, fences and rejoins its server by itself.
# Invariant: nothing here decides who is the primary; it only asks.
package Aegis::HaPatroni;

use v5.36;
use parent -norequire, 'Aegis::Ha';
use Aegis::Ha;
use Aegis::Stack;
use Aegis::Test;
use Aegis::Tls;

sub available ($class) {
    for my $p (qw(patroni etcd)) { return "$p is not installed" unless have($p) }
    return Aegis::Ha->available;
}

# AEGIS_HA_DCS=etcd3: Patroni's other way to speak to etcd, which the file says what is wrong with
sub _yml ($self, $file) {
    my $dcs = $ENV{AEGIS_HA_DCS} // 'etcd';
    return $self->_shipped("patroni/$file") =~ s{/var/lib/(?:etcd|postgresql)\S*}{DATA}gr =~ s{^etcd:$}{$dcs:}mr;
}

sub _databases ($self) {
    my ($d, $ip) = ($self->{dir}, \%Aegis::Ha::IP);
    $self->{pg_bin} = (sort { $b cmp $a } glob '/usr/lib/postgresql/*/bin')[0];
    my $tls = Aegis::Tls->new("$d/etc/tls/etcd", 'Aegis test etcd');
    $tls->cert('etcd', san => join(',', map { "IP:$ip->{\"nats-$_\"}" } 1 .. 3), owner => 'nobody');
    $tls->cert('patroni', san => join(',', map { "IP:$ip->{$_}" } qw(db-a db-b)), owner => 'postgres');
    for my $n (1 .. 3) {
        mkdir "$d/etcd-$n", 0700;
        $self->_own('nobody', "$d/etcd-$n");
        # the members of the cluster stay named in that one line
        spew("$d/etc/etcd-$n.yml", $self->_yml('etcd.yml') =~ s{DATA}{$d/etcd-$n}r =~ s{^(?!initial-cluster:)(.*)nats-1}{$1nats-$n}mgr
            =~ s{^(?!initial-cluster:)(.*)\Q$ip->{'nats-1'}\E}{$1$ip->{"nats-$n"}}mgr);
        $self->start("etcd-$n", "nats-$n", 'nobody', ['etcd', '--config-file', "$d/etc/etcd-$n.yml"]);
    }
    for my $host (qw(db-a db-b)) {
        mkdir "$d/$host", 0700;
        mkdir "$d/sock/$host", 0755;
        chmod 0755, "$d/sock/$host";
        $self->_own('postgres', "$d/$host", "$d/sock/$host");
        my $name = $host =~ tr/-/_/r;
        spew("$d/etc/patroni-$host.yml", $self->_yml('patroni.yml') =~ s{^name: \S+}{name: $name}mr =~ s{10\.66\.0\.21}{$ip->{$host}}gr
            =~ s{DATA/bin|/usr/lib/postgresql/15/bin}{$self->{pg_bin}}r =~ s{DATA}{$d/$host}r
            =~ s{^postgresql:\n}{postgresql:\n  parameters:\n    unix_socket_directories: $d/sock/$host\n    shared_buffers: 64MB\n  pgpass: $d/sock/$host/pgpass\n}mr
            =~ s{^(\s+- )local   all .*\n}{$1local all all trust\n}mr);     # the test is root
        $self->start_patroni($host);
        $self->{pg}{$host} = Aegis::Pg->attach(host => "$d/sock/$host", port => 5432, superuser => 'postgres');
    }
    my $primary = wait_for('a primary', 90, sub { $self->leader }) or die "Patroni made no primary\n";
    my $pg = $self->pg($primary);
    $pg->dbh('postgres')->do('CREATE DATABASE aegis');
    my $r = run([build_dir . '/aegisctl', 'db', 'migrate', '--sql-dir', root . '/sql', '--database', $pg->dsn]);
    die "aegisctl db migrate: $r->{err}" if $r->{rc} ne '0';
    $pg->do('ALTER DATABASE aegis OWNER TO aegis_migrator');
    $self->joined or die "there is no synchronous standby\n";
}

sub start_patroni ($self, $host) {
    $self->start("patroni-$host", $host, 'postgres', ['patroni', "$self->{dir}/etc/patroni-$host.yml"], cwd => '/', stop => 'INT',
        env => { PATH => "/usr/bin:/bin:$self->{pg_bin}" });
}

# The one that takes writes, undef: none does, or two do.
sub leader ($self) {
    my @up = grep { $self->_says($_, 'SELECT (NOT pg_is_in_recovery())::int') } qw(db-a db-b);
    return @up == 1 ? $up[0] : undef;
}

sub _says ($self, $host, $sql) {
    my $d = eval { $self->{pg}{$host}->connect(db => 'postgres') } or return;
    my ($v) = eval { local $d->{PrintError} = 0; $d->selectrow_array($sql) };
    $d->disconnect;
    return $v;
}

# A standby is there, commits wait for it, and Patroni has written down that it is the
# one that may be promoted, which it does a moment later.
sub joined ($self) {
    return wait_for('the synchronous standby', 120, sub {
        my $p = $self->leader or return;
        my ($standby) = grep { $_ ne $p } qw(db-a db-b);
        return $self->_says($p, q{SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')})
            && run([$self->_enter($p), 'curl', '-sk', '-o', '/dev/null', '-w', '%{http_code}', "https://$Aegis::Ha::IP{$standby}:8008/synchronous"])->{out} eq '200';
    });
}

# kill -9 of Patroni and of its PostgreSQL, which is no child of it.
sub kill_db ($self, $host) {
    my ($postmaster) = slurp("$self->{dir}/$host/postmaster.pid") =~ /^(\d+)/;
    $self->{pg}{$host}->disconnect;
    my @all = ($postmaster, map { $_->{pid} } Aegis::Stack->children($postmaster));
    $self->kill9("patroni-$host");
    kill 'KILL', @all;
    return wait_for('it to be gone', 20, sub { !alive($postmaster) });
}

sub patronictl ($self, $host, @argv) {
    return run_ok([$self->_enter($host), as_postgres('patronictl', '-c', "$self->{dir}/etc/patroni-$host.yml", @argv)], cwd => '/', timeout => 60);
}

1;
