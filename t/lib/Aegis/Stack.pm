# Aegis::Stack: a whole installation, brought up by deploy/quickstart as a user
# would: PostgreSQL, nats-server, nginx with the module, the workers.
# Invariant: one shared installation serves a whole prove run (it is keyed by
# prove's process and ends with it, however that ends); own() gives a suite that
# needs other knobs one of its own, stopped with the suite. finish() is the last
# test of every suite: no alert and no sanitizer report was logged meanwhile.
package Aegis::Stack;

use v5.36;
use Digest::SHA qw(sha256 sha256_hex);
use Fcntl ':flock';
use File::Path qw(make_path remove_tree);
use MIME::Base64 ();
use POSIX ();
use Test::More ();
use Aegis::Http;
use Aegis::Nats;
use Aegis::Pg;
use Aegis::Test;

my @roles = qw(relay fsm analyst planner gate exec verify sensor librarian);

# Credentials beside the quick start's two: name => [tenant, principal, scopes,
# more of the line]. second's is of the form without an id.
my %keys = (
    second => ['default', 'second', '*'],
    alice => ['default', 'alice', '*'],
    reader => ['default', 'reader', 'case:read,plan:read,exec:read,verify:read,gate:read,kb:read,finding:read'],
    (map { $_ => ['default', $_, 'case:read,gate:read,gate:approve'] } qw(bob carol dave)),
    mute => ['default', 'mute', 'gate:write'],
    starter => ['default', 'starter', join ',', qw(case:read case:create case:transition:start_analysis case:transition:plan_ready plan:write)],
    approver => ['default', 'approver', 'case:read,case:transition:gate_approved,case:transition:gate_rejected'],
);

sub available ($class) {
    my $b = build_dir;
    for my $f ("$b/aegis-worker", "$b/aegisctl", "$b/ngx_http_aegis_module.so") {
        return "$f is not built" unless -e $f;
    }
    for my $p (qw(nginx nats-server psql openssl curl)) { return "$p is not installed" unless have($p) }
    return '';
}

# The installation of this prove run, started by the first suite that asks.
sub shared ($class, %opt) {
    _need($class);
    my $top = $ENV{TMPDIR} || '/tmp';
    my $run = $ENV{AEGIS_T_RUN};
    my $watched = $ENV{HARNESS_ACTIVE} ? getppid : 0;
    return $class->own('alone', %opt) if !defined $run && !$watched;
    my $base = $run // "$top/aegis-t-shared-$watched";
    make_path($base);
    chmod 0755, $base;
    open my $lock, '>', "$base/lock" or die "$base/lock: $!";
    flock $lock, LOCK_EX;
    my $self = bless { dir => "$base/run", base => $base, shared => 1 }, $class;
    if (!-e "$base/run/aegis.env") {
        $self->_up;
        _watch($base, $watched) if $watched && !defined $run;
    }
    close $lock;
    return $self->_attach;
}

# Is there a shared one? For the suite that ends it.
sub existing ($class) {
    my $base = $ENV{AEGIS_T_RUN} // (($ENV{TMPDIR} || '/tmp') . '/aegis-t-shared-' . getppid);
    return undef unless -e "$base/run/aegis.env";
    return (bless { dir => "$base/run", base => $base, shared => 1 }, $class)->_attach;
}

# One of our own. env: knobs of deploy/quickstart (ROLES, NGX_WORKERS,
# PG_EXTRA_CONF, NATS_EXTRA_CONF, KAFKA_BROKERS). durable: with fsync, as users
# have it. tree: another version's sources, built.
sub own ($class, $name, %opt) {
    _need($class);
    my $base = scratch($name);
    chmod 0755, $base;
    my $self = bless { dir => "$base/run", base => $base, env => $opt{env} // {}, durable => $opt{durable}, tree => $opt{tree} }, $class;
    Aegis::Test::at_end(sub { $self->down });
    $self->_up;
    _watch($base, $$);
    return $self->_attach;
}

sub _need ($class) {
    my $why = $class->available;
    return if $why eq '';
    Test::More::BAIL_OUT("$why: run make first");
}

sub _script ($self, $name) {
    my $log = "$self->{base}/$name.log";
    my $pg = join "\n", $self->{durable} ? () : ('fsync = off', 'track_commit_timestamp = on'), $self->{env}{PG_EXTRA_CONF} // ();
    my %env = (%{ $self->{env} // {} }, PG_EXTRA_CONF => $pg, RUN_DIR => $self->{dir}, B => $self->{tree} ? "$self->{tree}/build/release" : build_dir,
               SAN => is_san ? 1 : '', PORTS => join ' ', map { free_port } 1 .. 24);
    my $r = run(['sh', '-c', 'exec "$0" >"$1" 2>&1 </dev/null', ($self->{tree} // root) . "/deploy/quickstart/$name.sh", $log],
        timeout => 180, env => \%env);
    return if $r->{rc} eq '0';
    die "deploy/quickstart/$name.sh ended with $r->{rc}:\n" . slurp($log);
}

sub _up ($self) {
    $self->_script('up');
    my $file = "$self->{dir}/nginx/aegis_keys";
    open my $f, '>>', $file or die "$file: $!";
    print $f key_line($self->token($_), @{ $keys{$_} }), "\n" for sort keys %keys;
    close $f;
    $self->_read_env;
    # scripts of suites write to files below /tmp; another version may not know the setting
    $self->conf_edit('aegis.yaml', sub ($t) { "${t}script:\n  tmp_mb: 0\n" }, 'exec') unless $self->{tree};
    $self->nginx_reload;
    $self->{fresh} = 1;
}

sub down ($self) {
    return if $self->{stopped}++;
    $self->{pg}->disconnect if $self->{pg};
    $self->_script('down') if -e $self->{dir};
}

# A process that outlives us, and ends the shared installation when prove is gone.
sub _watch ($base, $pid) {
    my $child = fork // die "fork: $!";
    return waitpid $child, 0 if $child;
    POSIX::setsid();
    POSIX::_exit(0) if fork;
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', "$base/watch.log";
    open STDERR, '>&', \*STDOUT;
    POSIX::close($_) for 3 .. 255;
    no warnings 'exec';
    exec $^X, '-I' . root . '/t/lib', '-MAegis::Stack', '-e', 'Aegis::Stack::_watcher(@ARGV)', $base, $pid;
    POSIX::_exit(127);
}

sub _watcher ($base, $pid) {
    delete $ENV{HARNESS_ACTIVE};
    wait_for('prove to end', 7200, sub { !alive($pid) || !-e "$base/run/aegis.env" }, quiet => 1);
    return if !-e "$base/run/aegis.env";
    (bless { dir => "$base/run", base => $base }, 'Aegis::Stack')->down;
    remove_tree($base) unless $ENV{AEGIS_T_KEEP};
}

sub _read_env ($self) {
    my %e;
    for (split /\n/, slurp("$self->{dir}/aegis.env")) {
        my ($name, $value) = /^(\w+)=(.*)$/ or next;
        $e{$name} = $value =~ s/^"(.*)"$/$1/r;
    }
    $self->{e} = \%e;
    $self->{rundir} = $e{AEGIS_RUN};
}

sub _attach ($self) {
    $self->_read_env;
    $self->mark_logs;
    my ($pw, $host, $port) = $self->{e}{DATABASE_ADMIN_URL} =~ m{^postgresql://postgres:([^@]+)@([^:/]+):(\d+)/};
    $self->{pg} = Aegis::Pg->attach(host => $host, port => $port, superuser => 'postgres', password => $pw);
    return $self;
}

sub e ($self, $name) { return $self->{e}{$name} }
sub run_dir ($self) { return $self->{rundir} }
sub pg ($self) { return $self->{pg} }
sub nats ($self) { return $self->{nats} //= Aegis::Nats->new($self->{e}{NATS_URL}) }

# A database connection as one of the product's roles.
sub pg_as ($self, $role) {
    my $pw = slurp("$self->{rundir}/secrets/$role") =~ s/\s+\z//r;
    my $p = Aegis::Pg->attach(%{ $self->{pg} }, password => $pw, dbh => {});
    return $p->connect(user => "aegis_$role");
}

# who: default (scope *), other (another tenant), second and alice (other
# principals of the same tenant), bob, carol and dave (who may approve), reader (reads
# only), starter and approver (not each other's events), or nobody.
sub token ($self, $who = 'default') {
    return $self->{e}{AEGIS_TOKEN} if $who eq 'default';
    return $self->{e}{AEGIS_TOKEN_OTHER} if $who eq 'other';
    return undef if $who eq 'nobody';
    die "no key $who" unless $keys{$who};
    return "$who-" . sha256_hex($self->{dir}) if $who eq 'second';
    return new_token($who, "$who $self->{dir}");
}

# A token as `aegisctl key new` makes them; from a seed always the same.
sub new_token ($id, $seed = Aegis::Test::random_hex(32)) {
    return "aegis_${id}_" . (MIME::Base64::encode_base64url(sha256($seed)) =~ s/=//gr);
}

# Its line of aegis_keys.
sub key_line ($token, @who) {
    return join ' ', sha256_hex($token), @who unless $token =~ /^aegis_([a-z0-9-]+)_([\w-]{43})$/;
    return join ' ', $1, sha256_hex($2), @who;
}

sub http ($self, $who = 'default') {
    return Aegis::Http->new(url => $self->{e}{AEGIS_URL}, ca => $self->{e}{AEGIS_CA}, token => $self->token($who));
}

# /metrics of a worker role, or of the gateway.
sub metrics ($self, $who) {
    return $self->http->get('/metrics')->body if $who eq 'gateway';
    my ($url) = ($self->{e}{AEGIS_METRICS} // '') =~ /(?:^|\s)\Q$who\E=(\S+)/ or die "no metrics of $who";
    my ($base, $path) = $url =~ m{^(https?://[^/]+)(/.*)$};
    return Aegis::Http->new(url => $base)->get($path)->body;
}

# The value of a metric: exact labels as a string, or the sum over a regex.
sub metric ($self, $who, $name, $labels = qr/.*/) {
    my ($sum, $n) = (0, 0);
    for (split /\n/, $self->metrics($who)) {
        next unless /^\Q$name\E(?:\{((?:[^"}]|"[^"]*")*)\})?\s+(\S+)/;
        my ($l, $v) = ($1 // '', $2);
        next unless $l =~ (ref $labels ? $labels : qr/\Q$labels\E/);
        $sum += $v;
        $n++;
    }
    return $n ? $sum : undef;
}

# --- processes

sub pid ($self, $name) {
    my $f = "$self->{rundir}/pid/$name.pid";
    return undef unless -e $f;
    my $pid = slurp($f) =~ s/\s+//gr;
    return $pid =~ /^\d+$/ && alive($pid) ? $pid : undef;
}

sub roles ($self) { return @roles }

# The process that a role runs in: its own, or the one that has all of them.
sub process ($self, $role) {
    return $role if !grep { $_ eq $role } @roles;
    return $self->{e}{AEGIS_METRICS} =~ /(?:^|\s)all=/ ? 'all' : $role;
}

# kill -9 of a role's process; its supervisor starts another. Returns the old pid.
sub kill_worker ($self, $role, $signal = 'KILL') {
    my $pid = $self->pid($role) // die "no $role is running\n";
    kill $signal, $pid;
    return $pid;
}

# A role's process stands still until the closure that is returned is called.
sub hold ($self, $role) {
    my $pid = wait_for("a $role to hold", 10, sub { $self->pid($role) }) // die "no $role is running\n";
    kill 'STOP', $pid or die "cannot stop $role, $pid: $!\n";
    wait_for("$role to stand still", 10, sub { slurp("/proc/$pid/status") =~ /^State:\s+T/m && $self->pid($role) == $pid })
        or die "$role, $pid, does not stand still\n";
    return sub { kill 'CONT', $pid };
}

sub wait_worker ($self, $role, $not = 0, $timeout = 30) {
    return wait_for("another $role to run", $timeout, sub {
        my $pid = $self->pid($role);
        return $pid && $pid != $not && eval { $self->metrics($role) } ? $pid : undef;
    });
}

# argv so that it runs as the installation's service user.
sub as_service ($self, @argv) {
    return @argv if $> != 0;
    my ($uid, $gid) = (stat "$self->{rundir}/nats")[4, 5];
    return ('setpriv', "--reuid=$uid", "--regid=$gid", '--clear-groups', @argv);
}

# kill -9 of the broker, and the same broker again.
sub kill_nats ($self) {
    my $pid = $self->pid('nats');
    delete $self->{nats};
    kill 'KILL', $pid;
    wait_for('nats-server to end', 10, sub { !alive($pid) });
    unlink "$self->{rundir}/pid/nats.pid";
}

sub start_nats ($self) {
    my $r = run(['sh', '-c', 'cd "$0" && "$@" </dev/null >>"$0/log/nats.out" 2>&1 &', $self->{rundir},
        $self->as_service('setsid', 'nats-server', '-c', "$self->{rundir}/nats/nats.conf")]);
    return wait_for('nats-server to answer', 20, sub { $self->nats->stream('AEGIS_FACT')->{state} });
}

# The nginx workers of this installation: {pid, exiting}.
sub nginx_workers ($self) {
    my $master = $self->pid('nginx') // return ();
    return $self->children($master);
}

sub children ($self, $parent) {
    my @out;
    for my $dir (glob '/proc/[0-9]*') {
        open my $f, '<', "$dir/stat" or next;
        my $stat = <$f> // next;
        next unless $stat =~ /^(\d+) \(.*\) (\S) (\d+)/s && $3 == $parent && $2 !~ /[ZX]/;
        my $pid = $1;
        my $cmd = eval { slurp("$dir/cmdline") } // '';
        push @out, { pid => $pid, exiting => $cmd =~ /shutting down/ ? 1 : 0, cmd => $cmd };
    }
    return @out;
}

# Reload nginx and wait until only new workers are left that take requests.
sub nginx_reload ($self, %opt) {
    my $master = $self->pid('nginx') // die "nginx is not running\n";
    my %old = map { $_->{pid} => 1 } $self->nginx_workers;
    kill 'HUP', $master;
    return if $opt{no_wait};
    return wait_for('nginx to reload', 30, sub {
        my @w = $self->nginx_workers;
        return @w && !grep { $old{ $_->{pid} } && !$_->{exiting} } @w;
    });
}

# Change the running configuration of nginx with code on its text; undo by calling
# what is returned.
sub nginx_edit ($self, $code) {
    my $file = "$self->{rundir}/nginx/nginx.conf";
    my $was = slurp($file);
    my ($uid, $gid) = (stat $file)[4, 5];
    my $put = sub ($text) { spew_into($file, $text); chown $uid, $gid, $file; $self->nginx_reload };
    $put->($code->($was));
    return sub { $put->($was) };
}

# nginx -t (or -T) on a text, in a folder of our own. {rc, out, err}
sub nginx_t ($self, $text, $what = '-t') {
    my $dir = scratch('nginx-t');
    mkdir "$dir/$_" for qw(logs nginx);
    spew("$dir/nginx.conf", $text =~ s{^\s*(?:pid|error_log)\s.*$}{}mgr =~ s{^(\s*access_log)\s.*$}{$1 off;}mgr
        =~ s{\Q$self->{rundir}\E/nginx/(client_body|proxy|fastcgi|uwsgi|scgi)}{$dir/nginx/$1}gr);
    return run(['nginx', $what, '-p', $dir, '-c', "$dir/nginx.conf", '-e', "$dir/error.log", '-g', "pid $dir/nginx.pid;"], env => { preload() });
}

# What a plain nginx needs around a module of the sanitizer build.
sub preload () {
    return () unless is_san;
    my @lib = map { run_ok(['gcc', "-print-file-name=$_.so"]) =~ s/\s+//gr } qw(libasan libubsan);
    return (LD_PRELOAD => "@lib", ASAN_OPTIONS => 'detect_leaks=0');
}

# --- what a suite puts into the installation

# A script that plans may run. It is there at once.
sub add_script ($self, $name, $text) {
    my $file = "$self->{rundir}/conf/scripts/$name";
    spew("$file.new", $text);
    chmod 0755, "$file.new";
    rename "$file.new", $file or die "$file: $!";
    my $list = "$self->{rundir}/conf/scripts/SHA256SUMS";
    my @others = grep { !/^\w{64}  \Q$name\E$/ } -e $list ? split /\n/, slurp($list) : ();
    spew("$list.new", join "\n", @others, sha256_hex($text) . "  $name", '');
    chmod 0644, "$list.new";
    rename "$list.new", $list or die "$list: $!";
}

# A file that scripts (whoever they run as) may append to.
sub effect_file ($self) {
    my $file = scratch() . '/effects' . ($self->{shared} ? '' : '-' . $self->{base} =~ s{.*/}{}r);
    spew($file, '') unless -e $file;
    chmod 0666, $file;
    return $file;
}

# Change a configuration file of the workers, tell roles, and return when they work
# by it or have refused it. What is returned undoes it in the same way.
sub conf_edit ($self, $name, $code, @tell) {
    my $file = "$self->{rundir}/conf/$name";
    my ($uid, $gid) = (stat $file)[4, 5];
    my $was = slurp($file);
    my %once;
    @tell = grep { !$once{$_}++ } map { $self->process($_) } @tell;
    my $reloads = sub ($who) { eval { $self->metric($who, 'aegis_config_reloads_total') } };
    my $put = sub ($text) {
        my %had = map { $_ => scalar $reloads->($_) } @tell;
        spew_into($file, $text);
        chown $uid, $gid, $file;
        kill 'HUP', $self->pid($_) // () for @tell;
        for my $who (grep { defined $had{$_} } @tell) {     # an older version does not count them
            wait_for("$who to take the new $name, or refuse it", 15, sub { ($reloads->($who) // 0) > $had{$who} || !$self->pid($who) });
        }
    };
    $put->($code->($was));
    return sub { $put->($was) };
}

# Another policy, in force when this returns. undo by calling what is returned.
sub policy ($self, $yaml) {
    my $rev = sub { $self->{pg}->one('SELECT coalesce(max(revision), 0) FROM aegis.gate_policy') };
    my $at = $rev->();
    my $undo = $self->conf_edit('policy.yaml', sub ($) { $yaml }, 'gate');
    wait_for('the gate to load the policy', 15, sub { $rev->() > $at }) or die "the policy was not loaded\n";
    return sub {
        my $now = $rev->();
        $undo->();
        wait_for('the gate to load its old policy', 15, sub { $rev->() > $now });
    };
}

# A fact as a worker would publish it. Returns the message id.
sub publish_fact ($self, $subject, %f) {
    my $id = $f{id} // new_key('fact');
    my %data = (case_id => $f{case_id}, tenant => $f{tenant} // 'default', case_version => $f{version}, %{ $f{data} // {} });
    delete $data{$_} for grep { !defined $data{$_} } keys %data;
    my %e = (specversion => '1.0', id => $id, source => 'urn:aegis:test', type => $subject, time => '2026-01-01T00:00:00Z',
        datacontenttype => 'application/json', tenant => $f{tenant} // 'default', data => \%data,
        (defined $f{case_id} ? (subject => $f{case_id}, partitionkey => $f{case_id}) : ()),
        (defined $f{traceparent} ? (traceparent => $f{traceparent}) : ()), %{ $f{envelope} // {} });
    delete $e{$_} for grep { !defined $e{$_} } keys %e;
    $self->nats->publish($subject, $f{body} // json_encode(\%e), id => $f{nats_id} // $id);
    return $id;
}

# Minutes of a metric, newest now.
sub metrics_1m ($self, $resource, $metric, @avg) {
    my $n = @avg;
    for my $v (@avg) {
        $n--;
        $self->{pg}->do(q{INSERT INTO aegis.metric_1m (tenant, resource, metric, bucket, samples, avg, max, p95)
            VALUES ('default', ?, ?, date_trunc('minute', now()) - make_interval(mins => ?), 60, ?, ?, ?)
            ON CONFLICT (tenant, resource, metric, bucket, series) DO UPDATE SET avg = excluded.avg, max = excluded.max, p95 = excluded.p95},
            $resource, $metric, $n, $v, $v, $v);
    }
}

# A metric that goes on for some seconds from now: whatever change ends meanwhile
# has samples behind it, as a verification wants them.
sub metrics_ahead ($self, $resource, $metric, $v, $seconds = 20) {
    $self->{pg}->do(q{DELETE FROM aegis.metric_1m WHERE tenant = 'default' AND resource = ? AND metric = ?}, $resource, $metric);
    $self->{pg}->do(q{INSERT INTO aegis.metric_1m (tenant, resource, metric, bucket, samples, avg, max, p95)
        SELECT 'default', ?, ?, t, 60, ?, ?, ? FROM generate_series(now(), now() + make_interval(secs => ?), interval '10 ms') t},
        $resource, $metric, $v, $v, $v, $seconds);
}

# --- quiet

# Nothing is on its way: no unpublished row, no message that a consumer has not
# settled. Used before fingerprints.
sub quiet ($self, $timeout = 30) {
    return wait_for('everything to be published and consumed', $timeout, sub {
        return 0 if $self->{pg}->one('SELECT count(*) FROM aegis.outbox WHERE published_at IS NULL');
        return 0 if $self->{pg}->one(q{SELECT count(*) FROM aegis.exec_run WHERE state IN ('QUEUED', 'RUNNING')});
        require Aegis::Def;
        my %stream = map { $_->[0] => $_->[1] } Aegis::Def::def_rows('streams', 'AEGIS_STREAM');
        for my $c (Aegis::Def::def_rows('consumers', 'AEGIS_CONSUMER')) {
            my $i = $self->nats->consumer($stream{ $c->[2] }, $c->[0]);
            next if $i->{error};                     # this role does not run here, or evt.* is on Kafka
            return 0 if $i->{num_pending} || $i->{num_ack_pending};
        }
        return 1;
    });
}

# --- the last test of a suite

sub _logs ($self) { return glob "$self->{rundir}/log/*" }

sub complaints ($self, %opt) {
    my @out;
    for my $f ($self->_logs) {
        my $name = $f =~ s{.*/}{}r;
        my $from = $self->{mark}{$f} // 0;
        open my $h, '<', $f or next;
        seek $h, $from, 0 if -s $f >= $from;
        while (my $line = <$h>) {
            push @out, "$name: $line" if $line =~ /Sanitizer|runtime error:|LeakSanitizer/
                || ($name =~ /^nginx/ && $line =~ /\[(?:alert|emerg)\]/)
                || ($name =~ /^postgres/ && $line =~ /\b(?:PANIC|server process .* was terminated)\b/);
        }
    }
    @out = grep { my $l = $_; !grep { $l =~ $_ } @{ $opt{allow} } } @out if $opt{allow};
    return @out;
}

# Answers that openapi.json does not describe. What nginx itself refuses before a
# route is known (no status of a route) is left out.
sub undocumented ($self) {
    my $doc = json_decode(slurp(root . '/docs/openapi.json'));
    my @templates = sort { ($a =~ /\{/) <=> ($b =~ /\{/) } keys %{ $doc->{paths} };
    my %bad;
    for my $seen (keys %Aegis::Http::seen) {
        my ($method, $path) = split / /, $seen, 2;
        my ($t) = grep { my $re = quotemeta; $re =~ s/\\\{\w+\\\}/[^\/]+/g; $path =~ /^$re$/ } @templates;
        my $op = $t && $doc->{paths}{$t}{ lc($method eq 'HEAD' ? 'GET' : $method) } or next;
        for my $status (grep { $_ } keys %{ $Aegis::Http::seen{$seen} }) {
            $bad{"$method $t: $status"} = 1 unless $op->{responses}{$status};
        }
    }
    return sort keys %bad;
}

# Under SAN=1: processes that run without the sanitizer, so that "no report" means
# something.
sub unwatched ($self) {
    my %pid = map { my $role = $_; $role => sub { $self->pid($role) } } grep { $self->pid($_) } $self->roles;
    for my $w ($self->nginx_workers) { $pid{"nginx worker $w->{pid}"} = sub { $w->{pid} } }
    # one that has just begun has not loaded it yet, one that ends has let it go
    return grep { my $who = $_; !wait_for("$who to show what it has loaded", 5, sub {
        my $p = $pid{$who}->() or return 0;
        return (eval { slurp("/proc/$p/maps") } // 'libasan') =~ /libasan/;
    }, quiet => 1) } sort keys %pid;
}

# From now on, look at what is logged from here.
sub mark_logs ($self) { $self->{mark} = { map { $_ => -s $_ } $self->_logs } }

sub finish ($self, %opt) {
    Test::More::is_deeply([ $self->unwatched ], [], 'every process ran under the sanitizers') if is_san;
    Test::More::is_deeply([ $self->undocumented ], [], 'every answer was one that openapi.json describes')
        unless $opt{no_openapi};
    my @bad = $self->complaints(%opt);
    Test::More::is(scalar @bad, 0, 'no alert and no sanitizer report was logged')
        or Test::More::diag(join '', @bad > 20 ? @bad[0 .. 19] : @bad);
    my $core = join ' ', glob "$self->{rundir}/core* $self->{rundir}/nginx/core*";
    Test::More::is($core, '', 'nothing left a core file');
}

1;
