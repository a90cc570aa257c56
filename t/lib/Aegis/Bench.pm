# Aegis::Bench: what t/bench measures with: an installation as shipped (no
# workers, a plain listener beside the TLS one), filled tables, CPU by process,
# and one run of each subject: pgbench, our gateway, the peer.
# Invariant: a run that writes starts from the same rows (reset), and after it
# every 2xx is a committed row and the invariants hold, or it dies.
package Aegis::Bench;

use v5.36;
use Digest::SHA 'sha256_hex';
use POSIX ();
use IO::Socket::INET;
use Time::HiRes qw(time);
use Aegis::CpuGroups;
use Aegis::Def;
use Aegis::Invariants;
use Aegis::Stack;
use Aegis::Test;

my $TENANTS = 8;
my $HZ = POSIX::sysconf(POSIX::_SC_CLK_TCK());
my $TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

# cases, secs, warm: size and length of runs. roles: workers that run beside. units:
# CPU groups as services have them.
sub start ($class, %opt) {
    my $units = $opt{units} ? Aegis::CpuGroups->new('bench', $ENV{BOOST} // 1) : undef;
    my $stack = Aegis::Stack->own($opt{name} // 'bench', durable => $opt{durable} // 1, env => {
        ROLES => $opt{roles} // '',
        # the only setting that is not the quick start's: pgbench with 128 clients
        PG_EXTRA_CONF => 'max_connections = 200',
        (defined $ENV{NGX_WORKERS} ? (NGX_WORKERS => $ENV{NGX_WORKERS}) : ()) });
    my $self = bless { stack => $stack, units => $units, cases => $opt{cases} // 60_000, secs => $opt{secs} // 5,
        warm => $opt{warm} // 1, dir => scratch('load'), runs => 0 }, $class;
    $self->_credentials;
    $self->_plain_port;
    $self->_units;
    $self->_fill;
    $self->{invariants} = Aegis::Invariants->new($self->pg->dbh);
    return $self;
}

# What the figures depend on.
sub machine ($self) {
    my ($cpu) = slurp('/proc/cpuinfo') =~ /^model name\s*:\s*(.*)$/m;
    my $n = () = slurp('/proc/cpuinfo') =~ /^processor\s*:/mg;
    my ($mem) = slurp('/proc/meminfo') =~ /^MemTotal:\s+(\d+)/m;
    my ($nginx) = run(['nginx', '-v'])->{err} =~ m{nginx/([\d.]+)};
    my $go = run(['go', 'version'])->{out} =~ /go([\d.]+)/ ? "Go $1, " : '';
    return sprintf '%d cores (%s), %.0f GiB, Linux %s, PostgreSQL %s, nginx %s, %s%s nginx workers', $n, $cpu // 'unknown', $mem / 1048576,
        (POSIX::uname())[2] =~ s/-.*//r, $self->pg->one("SELECT split_part(current_setting('server_version'), ' ', 1)"), $nginx // '?',
        $go, (scalar grep { !$_->{exiting} } $self->{stack}->nginx_workers) . ($self->{units} ? ', CPU groups' : '');
}

sub stack ($self) { return $self->{stack} }
sub pg ($self) { return $self->{stack}->pg }

sub _credentials ($self) {
    my $file = $self->{stack}->run_dir . '/nginx/aegis_keys';
    my @tokens = map { "bench-$_-" . sha256_hex("$self->{dir}-$_") } 0 .. $TENANTS - 1;
    open my $f, '>>', $file or die "$file: $!";
    print $f join(' ', sha256_hex($tokens[$_]), "bench$_", 'bench', '*'), "\n" for 0 .. $#tokens;
    close $f;
    spew($self->{tokens} = "$self->{dir}/tokens", join '', map { "$_\n" } @tokens);
    $self->{keys} = $file;
}

sub _plain_port ($self) {
    my $port = $self->{plain} = free_port;
    ($self->{tls}) = $self->{stack}->e('AEGIS_URL') =~ /:(\d+)$/;
    $self->{stack}->nginx_edit(sub ($conf) {
        $conf =~ s/(\n\s*listen [^;]+ ssl;)/$1\n        listen 127.0.0.1:$port;/ or die 'no listen to copy';
        $conf;
    });
}

# nginx and PostgreSQL, as they are and with what they start from now on.
sub _units ($self) {
    my $units = $self->{units} // return;
    my $p = _procs();
    $self->{postmaster} = (split /\n/, slurp($self->{stack}->run_dir . '/pg/postmaster.pid'))[0];
    my %of = (nginx => $self->{stack}->pid('nginx'), postgres => $self->{postmaster});
    my ($weight) = slurp(root . '/deploy/conf/nginx-cpu.conf') =~ /^CPUWeight=(\d+)$/m;
    for my $unit (sort keys %of) {
        $units->put($unit, $unit eq 'nginx' ? $weight : 100, $of{$unit}, grep { $p->{$_}[0] == $of{$unit} } keys %$p);
    }
}

# --- tables

sub _psql ($self, $file, @args) {
    my $pg = $self->pg;
    run_ok(['psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-h', $pg->{host}, '-p', $pg->{port}, '-U', $pg->{superuser},
        '-d', 'aegis', @args, '-f', $file], timeout => 1800, env => { PGPASSWORD => $pg->{password} });
}

sub _fill ($self) {
    my $sql = root . '/t/bench/sql';
    $self->_psql("$sql/fill.sql", '-v', "cases=$self->{cases}");
    $self->_psql("$sql/lean.sql");
    $self->reset;
}

# The same rows as at the start, known to the planner and on disk.
sub reset ($self) {
    my $d = $self->pg->dbh;
    $d->do('SET client_min_messages = warning');
    $d->do('SELECT bench.reset()');
    $d->do("ANALYZE aegis.$_") for qw(ops_case case_timeline outbox idempotency);
    $d->do('CHECKPOINT');
}

sub _committed ($self) { return $self->pg->one('SELECT count(*) FROM aegis.idempotency') }

# The cases as they are now, for the load tool.
sub _cases_file ($self) {
    my $rows = $self->pg->dbh->selectcol_arrayref("SELECT concat_ws(' ', substr(tenant, 6), case_id, status, version)
        FROM aegis.ops_case WHERE tenant LIKE 'bench%' AND mode = 'manual'
         AND status IN ('NEW', 'ANALYZING', 'PARKED') ORDER BY md5(case_id::text)");
    spew("$self->{dir}/cases", join '', map { "$_\n" } @$rows);
    return "$self->{dir}/cases";
}

# --- the product's statements, by its own tables

my %columns = (transition => 'CASE_TRANSITION', create => 'CASE_CREATE', get => 'CASE_GET');
my %names = (READ_CASE => 'ord, version, card, status, plan_id, exec_id, reason, updated_at');

# text: one that answers with the case's text, for who does not make it from columns.
sub statement ($work, $text = 0) {
    my %type = map { $_->[0] => $_->[1] } def_rows('columns', 'AEGIS_COLUMN');
    my ($row) = grep { $_->[0] eq $columns{$work} } def_rows('statements', 'AEGIS_STMT');
    my @c = $row->[3] =~ /AEGIS_C\((\w+)\)/g;
    if ($text && $row->[2] eq 'READ_CASE') {
        $row = [$row->[0], 'case_get', 'READ'];
        push @c, 'request_id';
    }
    my $n = 0;
    my @p = map { $n++; '$' . $n . '::text[]' . ($type{$_} eq 'text' ? '' : "::$type{$_}\[]") } @c;
    my $notify = $row->[2] eq 'WRITE_NOTIFY';
    push @p, '$' . ($n + 1) . '::bool' if $notify;
    my $names = $names{ $row->[2] } // 'ord, status, code, version, body, extra';
    return { sql => "SELECT $names FROM aegis.$row->[1](" . join(', ', @p) . ')', names => $names,
        columns => \@c, types => [ map { $type{$_} } @c ], notify => $notify ? \1 : \0, function => $row->[1] };
}

# A column's value as pgbench writes it. :n is the case, :i counts the client's calls.
my %value = (
    tenant => q{'bench' || (:n::int % 8)}, principal => q{'bench'}, actor => q{'bench'},
    key => q{:run::text || '-' || :client_id::text || '-' || :i::text}, hash => q{'\x} . 'ab' x 32 . q{'},
    case_id => 'bench.id(:n::int)', event => q{(ARRAY['start_analysis', 'force_park'])[:pass::int + 1]},
    reason => q{'measured'}, correlation_id => q{''}, traceparent => "'$TRACE'", request_id => q{'measured'},
    meta => q{'{}'}, title => q{'measured ' || :i::text}, kind => q{'incident'}, severity => q{'warning'},
    mode => q{'manual'}, tags => q{'["bench"]'}, labels => q{'{"service":"checkout","env":"prod"}'},
);

my %lean = (
    transition => [qw(tenant principal key hash case_id event actor reason correlation_id traceparent request_id meta if_match notify)],
    create => [qw(tenant principal key hash case_id title kind severity mode tags labels actor reason correlation_id traceparent request_id notify)],
);

# A statement of sql/ with its p_<column> replaced: as a function it would be
# planned anew at each call.
sub _inline ($name, $value) {
    my $sql = slurp(root . "/t/bench/sql/$name.sql");
    $sql =~ s/^--.*\n//mg;
    $sql =~ s/\bp_(\w+)/($value->{$1})/g;
    return $sql =~ s/\s*\n\s*/ /gr =~ s/\A\s+|\s+\z//gr . "\n";
}

sub _script ($self, $work, $shape) {
    my $v = { %value, $work eq 'create' ? (case_id => 'gen_random_uuid()') : () };
    my $head = "\\set i :i + 1\n\\set n :client_id + :conns * (:i % :per)\n\\set pass (:i / :per) % 2\n";
    my $sql;
    if ($shape eq 'seq' && $work ne 'get') {
        $sql = slurp(root . "/t/bench/sql/${work}_seq.sql");
    }
    elsif ($shape eq 'func') {
        my $s = statement($work);
        my @args = map { "ARRAY[" . ($v->{ $s->{columns}[$_] } // 'NULL') . "]::$s->{types}[$_]\[]" } 0 .. $#{ $s->{columns} };
        push @args, 'false' if ${ $s->{notify} };
        $sql = "SELECT $s->{names} FROM aegis.$s->{function}(" . join(', ', @args) . ");\n";
    }
    elsif ($work eq 'get') {
        $sql = "SELECT version, card, status, plan_id, exec_id, reason, updated_at FROM aegis.ops_case WHERE tenant = $v->{tenant} AND case_id = $v->{case_id};\n";
    }
    else {
        my %f = (transition => 'transition', create => 'create_case');
        my %a = map { $_ => $_ eq 'notify' ? 'false' : $_ eq 'if_match' ? 'NULL' : $v->{$_} } @{ $lean{$work} };
        $sql = $shape eq 'cte' ? _inline("${work}_cte", \%a)
            : "SELECT status, code, version, body, extra FROM bench.$f{$work}(" . join(', ', map { $a{$_} } @{ $lean{$work} }) . ");\n";
    }
    return spew("$self->{dir}/$work-$shape.sql", $head . $sql);
}

# --- CPU

# pid => [parent, own, reaped] in seconds, of every process.
sub _procs () {
    my %p;
    for my $dir (glob '/proc/[0-9]*') {
        open my $f, '<', "$dir/stat" or next;
        my $s = <$f> // next;
        my ($pid) = $s =~ /^(\d+)/;
        my @f = split ' ', $s =~ s/^.*\)\s+//sr;
        $p{$pid} = [ $f[1], ($f[11] + $f[12]) / $HZ, ($f[13] + $f[14]) / $HZ ];
    }
    return \%p;
}

# Seconds used by a process, its children, and the children that it has reaped.
sub _tree ($p, $root) {
    return 0 unless $root && $p->{$root};
    my $sum = $p->{$root}[1] + $p->{$root}[2];
    $sum += $_->[1] for grep { $_->[0] == $root } values %$p;
    return $sum;
}

sub _machine () {
    my (undef, @v) = split ' ', (split /\n/, slurp('/proc/stat'))[0];
    return ($v[0] + $v[1] + $v[2] + $v[5] + $v[6]) / $HZ;
}

sub _cpu ($self) {
    my $p = _procs();
    my $workers = 0;
    $workers += _tree($p, $self->{stack}->pid($_)) for grep { $self->{stack}->pid($_) } $self->{stack}->roles, 'all', 'nats';
    my @t = times;
    return { pg => _tree($p, $self->{postmaster}),
        nginx => _tree($p, $self->{stack}->pid('nginx')), peer => _tree($p, $self->{peer} ? $self->{peer}{pid} : 0),
        workers => $workers, self => $t[0] + $t[1] + $t[2] + $t[3], all => _machine(), at => time };
}

# The backends of the gateway's role, those that have just ended included.
sub _backends ($self) {
    my $p = _procs();
    return grep { $p->{$_}[0] == $self->{postmaster} && (eval { slurp("/proc/$_/cmdline") } // '') =~ /^(?:\z|postgres: aegis_gateway )/ } keys %$p;
}

# Run code; CPU seconds of each part meanwhile, and of everything else in cores.
# A backend's seconds are its parent's once it is reaped, so that is waited for.
sub _measured ($self, $code) {
    $self->{postmaster} //= (split /\n/, slurp($self->{stack}->run_dir . '/pg/postmaster.pid'))[0];
    my %before = map { $_ => 1 } $self->_backends;
    my $a = $self->_cpu;
    my $r = $code->();
    wait_for('backends to end', 5, sub { !grep { !$before{$_} } $self->_backends }, quiet => 1) unless $self->{peer};
    my $b = $self->_cpu;
    my %d = map { $_ => $b->{$_} - $a->{$_} } keys %$a;
    my $known = $d{pg} + $d{nginx} + $d{peer} + $d{workers} + $d{self};
    $r->{cpu} = \%d;
    $r->{foreign} = ($d{all} - $known) / $d{at};
    return $r;
}

# --- the subjects

# Row-level security asks for whom a session acts. The gateway's statements say it
# in each transaction; pgbench's other shapes and the peer may say it once, which
# can only make them faster.
my $SCOPE = "\x1f" . join('', map { "bench$_\x1f" } 0 .. $TENANTS - 1);

# pgbench for warm + secs; the first part does not count. rps, mean_ms, p50_ms with one client.
sub pgbench ($self, $work, $shape, $clients) {
    $self->reset if $work ne 'get';
    my $pg = $self->pg;
    my $log = "$self->{dir}/pgbench-log";
    my $warm = $self->{warm} + int($clients / 48);       # each backend plans for itself
    unlink glob "$log.*";
    my @cmd = ('pgbench', '-h', $pg->{host}, '-p', $pg->{port}, '-U', 'aegis_gateway', '-n', '-M', 'prepared', '-c', $clients, '-j', 1,
        '-T', $self->{secs} + $warm, '-P', 1, '-D', 'i=-1', '-D', "conns=$clients", '-D', 'per=' . int($self->{cases} / $clients),
        '-D', 'run=' . ++$self->{runs}, ($clients == 1 ? ('-l', '--log-prefix', $log) : ()), '-f', $self->_script($work, $shape), 'aegis');
    my $pw = slurp($self->{stack}->run_dir . '/secrets/gateway') =~ s/\s+//gr;
    my $r = $self->_measured(sub { $self->_attended(undef, \@cmd, timeout => 60 + $self->{secs}, env => { PGPASSWORD => $pw, PGOPTIONS => "-c aegis.tenants=$SCOPE" }) });
    my $text = $r->{out};
    die "pgbench $work $shape: $text" if $r->{rc} ne '0' || $text =~ /ERROR|aborted/;
    my ($total) = $r->{out} =~ /transactions actually processed: (\d+)/ or die "pgbench: $text";
    my ($n, $tps, $lat) = (0, 0, 0);
    while ($text =~ /progress: ([\d.]+) s, ([\d.]+) tps, lat ([\d.]+) ms/g) {
        next if $1 <= $warm + 0.5;
        $n++; $tps += $2; $lat += $2 * $3;
    }
    if (!$n && !$self->{warm}) {              # a run of a second shows no progress
        ($tps) = $r->{out} =~ /^tps = ([\d.]+)/m;
        $lat = $tps * ($r->{out} =~ /^latency average = ([\d.]+)/m)[0];
        $n = 1;
    }
    die "pgbench was too short: $text" unless $n && $tps;
    die "pgbench $work $shape: " . $self->_committed . " rows for $total" if $work ne 'get' && $self->_committed - $self->{cases} != $total;
    return { rps => $tps / $n, mean_ms => $lat / $tps, p50_ms => _log_p50($log), pg_us => $r->{cpu}{pg} / $total * 1e6,
        foreign => $r->{foreign}, n => $total };
}

sub _log_p50 ($log) {
    my @t;
    for my $f (glob "$log.*") { open my $h, '<', $f or next; push @t, (split ' ')[2] while <$h> }
    @t = sort { $a <=> $b } @t;
    return @t ? $t[$#t / 2] / 1000 : undef;
}

# run(), and code() up to ten times a second meanwhile. What it prints is in out.
sub _attended ($self, $code, $argv, %opt) {
    my $out = "$self->{dir}/out";
    unlink $out;
    my $p = start_process('load', $argv, log => $out, env => $opt{env});
    $self->{units}->put('load', 100, $p->{pid}) if $self->{units};
    my $done = wait_for("$argv->[0] to end", $opt{timeout}, sub {
        $code->() if $code;
        !alive($p->{pid});
    });
    my $status = stop_process($p);
    return { rc => $done && $status =~ /^\d+$/ ? $status >> 8 : 'timeout', out => slurp($out) };
}

# The load tool on a port. opt: conns, tls, work, phases, args.
sub load ($self, %opt) {
    my $ca = $self->{stack}->e('AEGIS_CA');
    my @cmd = (build_dir . '/t/bench/load', '--port', $opt{port}, '--tokens', $self->{tokens}, '--conns', $opt{conns}, '--work', $opt{work},
        '--prefix', 'r' . ++$self->{runs}, '--warm', $opt{warm} // $self->{warm}, '--phases', $opt{phases} // "0:$self->{secs}",
        ($opt{tls} ? ('--tls', $ca) : ()), ($opt{work} =~ /transition|get/ ? ('--cases', $self->_cases_file) : ()), @{ $opt{args} // [] });
    my $r = $self->_measured(sub { $self->_attended($opt{while}, \@cmd, timeout => $opt{timeout} // 120) });
    my ($json) = $r->{out} =~ /^(\{.*\})$/m;
    die "load ended with $r->{rc}: $r->{out}" unless $json && $r->{rc} =~ /^[03]$/;
    my $j = json_decode($json);
    die "$opt{work}: wrong answers: " . json_encode($j) if $r->{rc} ne '0' && !$opt{tolerant};
    return { %$j, cpu => $r->{cpu}, foreign => $r->{foreign} };
}

# GET /healthz by a second load tool, beside what runs; a closure that waits for what it saw.
sub probe ($self, $phases) {
    my $out = "$self->{dir}/probe";
    spew("$self->{dir}/healthz", "0 /healthz\n");
    my $p = start_process('probe', [build_dir . '/t/bench/load', '--port', $self->{plain}, '--tokens', $self->{tokens}, '--conns', 1, '--work', 'paths',
        '--paths', "$self->{dir}/healthz", '--prefix', 'p', '--warm', $self->{warm}, '--phases', $phases], log => $out);
    $self->{units}->put('probe', 100, $p->{pid}) if $self->{units};
    return sub {
        wait_for('the probe to end', 60, sub { !alive($p->{pid}) });
        stop_process($p);
        my ($json) = slurp($out) =~ /^(\{.*\})$/m;
        return json_decode($json // die 'the probe said nothing: ' . slurp($out));
    };
}

# What must hold after HTTP runs that write: a row for each 2xx, and the invariants.
sub verify ($self, $j) {
    my $delta = $self->_committed - $self->{cases};
    die "$j->{ok} answers 2xx, but $delta committed rows\n" if $delta != $j->{ok};
    for my $name (qw(I01 I02 I03 I04)) {
        my $bad = $self->{invariants}->rows_of($name);
        die "invariant $name: " . json_encode($bad->[0]) . "\n" if @$bad;
    }
}

sub _http ($self, $port, $work, $conns, $tls, $server) {
    $self->reset if $work ne 'get';
    my $j = $self->load(port => $port, work => $work, conns => $conns, tls => $tls);
    $self->verify($j) if $work ne 'get';
    my $p = $j->{phases}[0];
    return { rps => $p->{rps}, (map { $_ => $p->{$_} } qw(p50_ms p99_ms p999_ms mean_ms max_ms)), foreign => $j->{foreign},
        pg_us => $j->{cpu}{pg} / $j->{sent} * 1e6, server_us => $j->{cpu}{$server} / $j->{sent} * 1e6, n => $j->{sent},
        load_us => $j->{cpu_us} };
}

# Requests that statements have carried so far, and those statements.
sub _groups ($self) { return map { $self->{stack}->metric('gateway', "aegis_db_group_size_$_") // die "no metric of groups\n" } 'sum', 'count' }

# Ours; group is the mean number of requests in a statement.
sub ours ($self, $work, $conns, $tls = 0) {
    my @a = $self->_groups;
    my $r = $self->_http($tls ? $self->{tls} : $self->{plain}, $work, $conns, $tls, 'nginx');
    my @b = $self->_groups;
    return { %$r, group => $b[1] > $a[1] ? ($b[0] - $a[0]) / ($b[1] - $a[1]) : undef };
}

sub peer ($self, $work, $mode, $conns, $tls = 0) {
    my ($plain, $secure) = (free_port, free_port);
    my $s = $self->{stack};
    my $pw = slurp($s->run_dir . '/secrets/gateway') =~ s/\s+//gr;
    spew("$self->{dir}/statements.json", json_encode({ map { $_ => statement($_, 1) } keys %columns }));
    $self->{peer} = start_process('peer', [build_dir . '/t/bench/peer'], env => {
        MODE => $mode, POOL => 16, LISTEN => "127.0.0.1:$plain", LISTEN_TLS => "127.0.0.1:$secure", KEYS => $self->{keys},
        STATEMENTS => "$self->{dir}/statements.json", ACCESS_LOG => "$self->{dir}/peer-access.log",
        TLS_CERT => $s->run_dir . '/tls/server.pem', TLS_KEY => $s->run_dir . '/tls/server.key',
        DATABASE_URL => "postgres://aegis_gateway:$pw\@$self->{stack}{pg}{host}:$self->{stack}{pg}{port}/aegis?sslmode=disable&aegis.tenants=" . ($SCOPE =~ s/\x1f/%1F/gr) });
    $self->{units}->put('peer', 100, $self->{peer}{pid}) if $self->{units};
    my $up = wait_for('the peer to listen', 15, sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$plain") && IO::Socket::INET->new(PeerAddr => "127.0.0.1:$secure") });
    my $r = $up && eval { $self->_http($tls ? $secure : $plain, $work, $conns, $tls, 'peer') };
    my $why = $@;
    stop_process($self->{peer});
    my $log = slurp($self->{peer}{log});
    delete $self->{peer};
    die "peer $work $mode: $why\n" . substr($log, -2000) unless $r;
    return $r;
}

1;
