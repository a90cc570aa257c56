# Aegis::Ha: deploy/ha on eight hosts that are network namespaces of this test:
# two gateways behind keepalived with workers, two PostgreSQL servers, three
# nats-servers, and the client's, which the test itself moves into. The files are
# the shipped ones; only paths, users and passwords are put in.
# Invariant: a namespace lives as long as a process of this test holds it; the
# host's own network is not touched.
package Aegis::Ha;

use v5.36;
use POSIX ();
use File::Path qw(make_path remove_tree);
use Time::HiRes qw(time);
use Aegis::Http;
use Aegis::Pg;
use Aegis::Stack;
use Aegis::Test;
use Aegis::Tls;

our $VIP = '10.66.0.10';
our %IP = (client => '10.66.0.1', 'app-a' => '10.66.0.11', 'app-b' => '10.66.0.12', 'db-a' => '10.66.0.21',
    'db-b' => '10.66.0.22', map { ("nats-$_" => "10.66.0.3$_") } 1 .. 3);

# Why this cannot be done here, or ''.
sub available ($class) {
    return 'needs root, for network namespaces' if $> != 0;
    for my $p (qw(ip nsenter unshare keepalived nats-server nginx curl openssl)) { return "$p is not installed" unless have($p) }
    my $r = run(['unshare', '--net', 'sh', '-c', 'ip link add br0 type bridge && ip link add v0 type veth peer name v1']);
    return 'the kernel gives no bridge or veth' if $r->{rc} ne '0';
    return Aegis::Stack->available;
}

sub new ($class) {
    my $self = bless { dir => scratch('ha'), proc => {}, holder => {} }, $class;
    $self->{safe} = "/run/aegis-ha-$$";     # keepalived runs no script that others could replace
    Aegis::Test::at_end(sub { remove_tree($self->{safe}) });
    make_path("$self->{dir}/etc/tls", "$self->{dir}/etc/plans", "$self->{dir}/log", "$self->{dir}/objects", "$self->{dir}/sock", $self->{safe});
    chmod 0755, "$self->{dir}/etc", "$self->{dir}/log", "$self->{dir}/sock", $self->{safe};
    $self->_own('nobody', "$self->{dir}/objects", "$self->{dir}/log");
    $self->{token} = Aegis::Stack::new_token('hatest');
    $self->_net;
    $self->_files;
    $self->_databases;
    $self->start_nats($_) for 1 .. 3;
    $self->start_workers($_) for qw(app-a app-b);
    $self->start_gateway($_), $self->start_keepalived($_) for qw(app-a app-b);
    wait_for('a gateway to be ready', 60, sub { $self->http->get('/readyz')->status == 200 }) or die "no gateway is ready\n";
    return $self;
}

sub _own ($self, $user, @files) {
    my ($uid, $gid) = (getpwnam $user)[2, 3];
    chown $uid, $gid, @files;
}

# --- hosts

sub _net ($self) {
    my $hub = start_process('hub', ['unshare', '--net', 'sleep', 'infinity']);
    $self->{holder}{hub} = $hub;
    my $own = (stat '/proc/self/ns/net')[1];
    my $apart = sub ($p) { wait_for('a namespace', 60, sub { (stat "/proc/$p->{pid}/ns/net")[1] != $own }) or die };
    $apart->($hub);
    $self->in('hub', 'ip', 'link', 'add', 'br0', 'type', 'bridge');
    $self->in('hub', 'ip', 'link', 'set', 'br0', 'up');
    for my $host (sort keys %IP) {
        my $h = $self->{holder}{$host} = start_process("host-$host", ['unshare', '--net', 'sleep', 'infinity']);
        $apart->($h);
        $self->in('hub', 'ip', 'link', 'add', "v-$host", 'type', 'veth', 'peer', 'name', 'eth0', 'netns', $h->{pid});
        $self->in('hub', 'ip', 'link', 'set', "v-$host", 'master', 'br0', 'up');
        $self->in($host, 'ip', 'addr', 'add', "$IP{$host}/24", 'dev', 'eth0');
        $self->in($host, 'ip', 'link', 'set', $_, 'up') for qw(lo eth0);
    }
    $self->_watch;
    open my $ns, '<', "/proc/$self->{holder}{client}{pid}/ns/net" or die $!;
    syscall(308, fileno $ns, 0x40000000) == 0 or die "setns: $!";      # x86-64
}

# A process that outlives us and, when we were killed, ends whatever is left on the
# hosts. It keeps their namespaces open, so that no other test's can have their numbers.
sub _watch ($self) {
    my ($pid, $began) = ($$, started_at($$));
    my $child = fork // die "fork: $!";
    return waitpid $child, 0 if $child;
    POSIX::setsid();
    POSIX::_exit(0) if fork;
    my (%ours, @keep);
    for my $h (values %{ $self->{holder} }) {
        open my $ns, '<', "/proc/$h->{pid}/ns/net" or next;
        $ours{ (stat $ns)[1] } = push @keep, $ns;
    }
    my %kept = map { fileno($_) => 1 } @keep;
    POSIX::close($_) for grep { !$kept{$_} } 0 .. 255;
    while ((started_at($pid) // '') eq $began) { select undef, undef, undef, 0.5 }
    for (1 .. 40) {
        my @left = grep { my $ns = (stat "/proc/$_/ns/net")[1]; $ns && $ours{$ns} } map { m{(\d+)$} } glob '/proc/[0-9]*';
        last if !@left;
        kill 'KILL', @left;
        select undef, undef, undef, 0.1;
    }
    remove_tree($self->{safe}, $ENV{AEGIS_T_KEEP} ? () : scratch);
    POSIX::_exit(0);
}

# When a process began: its number may be another's by now.
sub started_at ($pid) {
    open my $f, '<', "/proc/$pid/stat" or return;
    return (split ' ', <$f> =~ s/^.*\)//sr)[19];
}

sub _enter ($self, $host) { return ('nsenter', "--net=/proc/$self->{holder}{$host}{pid}/ns/net") }
sub in ($self, $host, @argv) { return run_ok([$self->_enter($host), @argv]) }

# Pull the plug of a host, and put it back.
sub unplug ($self, $host) { $self->in('hub', 'ip', 'link', 'set', "v-$host", 'down') }
sub plug ($self, $host) { $self->in('hub', 'ip', 'link', 'set', "v-$host", 'up') }

# Two hosts that do not hear each other while both are up: what one sends to the
# other goes to nobody's address.
sub cut ($self, $a, $b) { $self->_deaf($a, $b, 'replace', 'lladdr', '02:00:00:00:00:fe', 'nud', 'permanent') }
sub heal ($self, $a, $b) { $self->_deaf($a, $b, 'del') }

sub _deaf ($self, $a, $b, $how, @more) {
    $self->in(@$_, @more, 'dev', 'eth0') for [$a, 'ip', 'neigh', $how, $IP{$b}], [$b, 'ip', 'neigh', $how, $IP{$a}];
}

sub start ($self, $name, $host, $user, $argv, %opt) {
    my @as = $user eq 'root' ? () : ('setpriv', "--reuid=$user", '--regid=' . (getpwnam $user)[3], '--clear-groups');
    return $self->{proc}{$name} = start_process($name, [$self->_enter($host), @as, @$argv], log => "$self->{dir}/log/$name.log", %opt);
}

# kill -9 of the process and, with all, of its children.
sub kill9 ($self, $name) {
    my $p = delete $self->{proc}{$name} or die "$name does not run";
    kill 'KILL', -$p->{pid}, $p->{pid};
    stop_process($p, 'KILL');
}

# Every process of a host at once: the power is gone. Its address goes with it.
sub power_off ($self, $host) {
    $self->unplug($host);
    $self->kill9($_) for grep { /-\Q$host\E$|^\Q$host\E$/ && !/^host-/ } keys %{ $self->{proc} };
    run([$self->_enter($host), 'ip', 'addr', 'del', "$VIP/24", 'dev', 'eth0']);
}

sub holds_vip ($self, $host) { return $self->in($host, 'ip', '-4', 'addr', 'show', 'eth0') =~ /inet \Q$VIP\E\// ? 1 : 0 }
sub vip ($self) { return grep { $self->holds_vip($_) } qw(app-a app-b) }

# --- the shipped files

sub _shipped ($self, $file) { return slurp(root . "/deploy/ha/$file") =~ s{/etc/aegis\b}{$self->{dir}/etc}gr =~ s{\bNATS_(CLUSTER_)?PASSWORD(?=@)}{secret}gr }

sub _files ($self) {
    my $d = $self->{dir};
    my $tls = Aegis::Tls->new("$d/etc/tls");
    $tls->cert('gateway', cn => 'aegis.example', san => 'DNS:aegis.example,' . join ',', map { "IP:$_" } $VIP, @IP{qw(app-a app-b)});
    $tls->cert('nats', san => join(',', map { "IP:10.66.0.3$_" } 1 .. 3), owner => 'nobody');
    $tls->cert('postgres', san => join(',', map { "IP:$_" } @IP{qw(db-a db-b)}), owner => 'postgres');
    $tls->cert($_, owner => 'nobody') for qw(aegis_gateway aegis_worker);
    $tls->cert('aegis_replication', owner => 'postgres');
    spew("$d/etc/$_", slurp(root . "/conf/$_")) for qw(aegis.yaml policy.yaml detectors.yaml aegis_gateway.conf aegis_ingest.conf aegis_log.conf);
    spew("$d/etc/plans/$_", slurp(root . "/conf/plans/$_")) for map { m{([^/]+)$} } glob root . '/conf/plans/*.yaml';
    make_path("$d/etc/scripts");
    spew("$d/etc/scripts/$_", slurp(root . "/conf/scripts/$_")) for 'SHA256SUMS', map { m{([^/]+)$} } glob root . '/conf/scripts/*.sh';
    chmod 0755, glob "$d/etc/scripts/*.sh";
    spew("$d/etc/keys", Aegis::Stack::key_line($self->{token}, 'default', 'hatest', '*') . "\n");
    spew("$d/etc/cursor.secret", 'x' x 48 . "\n");
    $self->_own('nobody', "$d/etc/keys", "$d/etc/cursor.secret");
    chmod 0600, "$d/etc/keys", "$d/etc/cursor.secret";
    spew("$self->{safe}/check-gateway.sh", slurp(root . '/deploy/ha/check-gateway.sh'));
    chmod 0755, "$self->{safe}/check-gateway.sh";
    spew("$d/etc/keepalived.conf", $self->_shipped('keepalived.conf') =~ s{/usr/lib/aegis}{$self->{safe}}r);
    chmod 0644, "$d/etc/keepalived.conf";
    spew("$d/etc/nats.conf", $self->_shipped('nats.conf') =~ s{/var/lib/nats}{\$NATS_STORE}r =~ s{"\$NATS_STORE"}{\$NATS_STORE}r);
    spew("$d/etc/aegis-ha.conf", $self->_shipped('postgresql/aegis-ha.conf'));
    spew("$d/etc/pg_hba.conf", "local all all trust\n" . $self->_shipped('postgresql/pg_hba.conf'));
    for my $host (qw(app-a app-b)) {
        make_path("$d/nginx/$host");
        $self->_own('nobody', "$d/nginx/$host");
        my $temp = join '', map { "    ${_}_temp_path $d/nginx/$host/$_;\n" } qw(client_body proxy fastcgi uwsgi scgi);
        spew("$d/etc/nginx-$host.conf", $self->_shipped('nginx.conf') =~ s{user www-data}{user nobody nogroup}r =~ s{worker_processes auto}{worker_processes 2}r
            =~ s{modules/ngx}{build_dir . '/ngx'}er =~ s{/var/log/nginx/}{"$d/log/nginx-$host-"}ger =~ s{/run/nginx.pid}{$d/nginx/$host.pid}r
            =~ s{/usr/share/aegis/openapi.json}{root . '/docs/openapi.json'}er
            =~ s{^http \{\n}{http \{\n$temp    server { listen 8080; include $d/etc/aegis_gateway.conf; }\n}mr);
    }
    my %env = $self->_shipped('worker.env') =~ /^(\w+)="(.*)"$/mg;
    $self->{worker_env} = { %env, AEGIS_EXEC_OBJECT_DIR => "$d/objects" };
}

# --- PostgreSQL

sub _databases ($self) {
    my $bin = $self->{pg_bin} = (sort { $b cmp $a } glob '/usr/lib/postgresql/*/bin')[0];
    my $data = "$self->{dir}/db-a";
    my @own = ($data, "$self->{dir}/db-b", map { "$self->{dir}/sock/$_" } qw(db-a db-b));
    mkdir $_, 0700 for @own;
    chmod 0755, @own[2, 3];
    $self->_own('postgres', @own);
    run_ok([as_postgres("$bin/initdb", '-D', $data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync', '--no-instructions')], cwd => '/');
    open my $conf, '>>', "$data/postgresql.conf" or die $!;
    print $conf "include = '$self->{dir}/etc/aegis-ha.conf'\nhba_file = '$self->{dir}/etc/pg_hba.conf'\nshared_buffers = 64MB\n"
        . "max_connections = 60\nlog_min_messages = warning\nlog_line_prefix = '%m [%p] %a '\n";
    close $conf;
    spew("$data/postgresql.auto.conf", "synchronous_standby_names = ''\n");
    $self->_own('postgres', "$data/postgresql.auto.conf");
    $self->start_db('db-a');
    my $pg = $self->pg('db-a');
    $pg->dbh('postgres')->do($_) for 'CREATE DATABASE aegis', slurp(root . '/deploy/ha/postgresql/replication.sql');
    my $r = run([build_dir . '/aegisctl', 'db', 'migrate', '--sql-dir', root . '/sql', '--database', $pg->dsn]);
    die "aegisctl db migrate: $r->{err}" if $r->{rc} ne '0';
    $pg->do('ALTER DATABASE aegis OWNER TO aegis_migrator');
    run_ok([$self->_enter('db-b'), as_postgres("$bin/pg_basebackup", '-D', "$self->{dir}/db-b", '-d', $self->_primary_conninfo('db-a', 'db_b'),
        '-X', 'stream', '-R', '-c', 'fast')], cwd => '/');
    $self->start_db('db-b');
    $self->synchronous('db-a');
}

sub _primary_conninfo ($self, $primary, $name) {
    my $t = "$self->{dir}/etc/tls";
    return "host=$IP{$primary} user=aegis_replication application_name=$name sslmode=verify-full sslrootcert=$t/ca.pem"
        . " sslcert=$t/aegis_replication.pem sslkey=$t/aegis_replication.key";
}

sub start_db ($self, $host, %opt) {
    $self->start("postgres-$host", $host, 'postgres', ["$self->{pg_bin}/postgres", '-D', "$self->{dir}/$host",
        '-c', "unix_socket_directories=$self->{dir}/sock/$host"], cwd => '/', stop => 'INT');
    $self->{pg}{$host} = Aegis::Pg->attach(host => "$self->{dir}/sock/$host", port => 5432, superuser => 'postgres');
    return wait_for("$host to accept connections", 60, sub { my $d = $self->{pg}{$host}->connect(db => 'postgres'); $d && $d->disconnect }) || die "$host did not start\n";
}

sub pg ($self, $host) { return $self->{pg}{$host} }

# Commits of the primary wait for the other server from here on.
sub synchronous ($self, $primary) {
    my $pg = $self->pg($primary);
    wait_for('the standby to stream', 60, sub { $pg->one(q{SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'}) }) or die "no standby streams\n";
    $pg->do('ALTER SYSTEM RESET synchronous_standby_names');
    $pg->do('SELECT pg_reload_conf()');
    return wait_for('it to be the synchronous one', 30, sub { $pg->one(q{SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')}) });
}

# deploy/ha's promote.sh on the standby. Returns when it takes writes.
sub promote ($self, $standby) {
    local $ENV{PGHOST} = "$self->{dir}/sock/$standby";
    run_ok([$self->_enter($standby), as_postgres(root . '/deploy/ha/postgresql/promote.sh', '--fenced')], cwd => '/', env => { PGUSER => 'postgres' });
    $self->pg($standby)->disconnect;
    return wait_for("$standby to take writes", 30, sub { $self->pg($standby)->do('CREATE TABLE IF NOT EXISTS public.probe (t timestamptz)'); $self->pg($standby)->do('INSERT INTO public.probe VALUES (now())') });
}

# deploy/ha's rejoin.sh on the former primary, which is stopped, and start it.
sub rejoin ($self, $host, $primary) {
    $self->pg($host)->disconnect;
    run_ok([$self->_enter($host), as_postgres(root . '/deploy/ha/postgresql/rejoin.sh', "$self->{dir}/$host", $host =~ tr/-/_/r,
        $self->_primary_conninfo($primary, $host =~ tr/-/_/r))], cwd => '/', env => { PG_BIN => $self->{pg_bin} }, timeout => 120);
    $self->start_db($host);
    return $self->synchronous($primary);
}

# --- the rest

sub start_nats ($self, $n) {
    my $store = "$self->{dir}/nats-$n";
    make_path($store);
    $self->_own('nobody', $store);
    $self->start("nats-$n", "nats-$n", 'nobody', ['nats-server', '-c', "$self->{dir}/etc/nats.conf"],
        env => { NATS_NAME => "nats-$n", NATS_PASSWORD => 'secret', NATS_CLUSTER_PASSWORD => 'secret', NATS_STORE => $store });
}

sub start_workers ($self, $host) {
    $self->start("workers-$host", $host, 'nobody', [build_dir . '/aegis-worker', '-c', "$self->{dir}/etc/aegis.yaml", 'all'],
        env => { %{ $self->{worker_env} }, AEGIS_METRICS_LISTEN => "$IP{$host}:9400", san_env });
}

sub start_gateway ($self, $host) {
    $self->start("nginx-$host", $host, 'root', ['nginx', '-c', "$self->{dir}/etc/nginx-$host.conf", '-e', "$self->{dir}/log/nginx-$host-error.log",
        '-g', 'daemon off;'], env => { Aegis::Stack::preload() }, stop => 'QUIT');
}

sub start_keepalived ($self, $host) {
    my $p = "$self->{dir}/keepalived-$host";
    $self->start("keepalived-$host", $host, 'root', ['keepalived', '-n', '-l', '-P', '-i', $host, '-f', "$self->{dir}/etc/keepalived.conf", '-p', "$p.pid", '-r', "$p.vrrp"]);
}

sub http ($self, $to = $VIP, %opt) {
    return Aegis::Http->new(url => $opt{plain} ? "http://$to:8080" : "https://$to:443", ca => "$self->{dir}/etc/tls/ca.pem", token => $self->{token}, timeout => 4, connect_timeout => 2);
}

sub nats ($self, $n = 1) { require Aegis::Nats; return Aegis::Nats->new("tls://aegis:secret\@10.66.0.3$n:4222", ca => "$self->{dir}/etc/tls/ca.pem") }

1;
