# Aegis::Faults: the campaign of faults: an installation that is built with
# failpoints, clients that go on meanwhile, ledgers of what was seen from outside,
# and after each fault, once all is quiet, every invariant. The faults themselves are
# Aegis::Faults::*; each says how often it is done in CI (fast), by `make faults`
# (some) and by `make faults-full` (full).
# Invariant: a violation is a row of an invariant, an answer that no fault excuses, or
# something that did not come back by itself; nothing else ends a fault early.
package Aegis::Faults;

use v5.36;
use File::Path qw(make_path);
use Time::HiRes qw(time);
use Test::More;
use Aegis::Chaos;
use Aegis::Failpoint;
use Aegis::Invariants;
use Aegis::Proxy;
use Aegis::Stack;
use Aegis::Test;

our @all;

# Cases that have to walk to CLOSED by themselves: all in mode auto but those that the
# analyst opened, whose metrics are not there to verify them by.
our $auto = "mode = 'auto' AND labels ->> 'detector' IS NULL";

# fault NAME, TITLE, {fast, some, full} => code ($f, $n). Without a count it is left out.
sub fault ($name, $title, $counts, $code) {
    push @all, { name => $name, title => $title, counts => $counts, code => $code };
}

# args: seed, env (more knobs of the installation)
sub new ($class, %args) {
    my $self = bless { seed => $args{seed} // time % 1e6 | 0, done => [], gateways => {} }, $class;
    # each in a folder of its own: what another one left is no evidence here
    state $nth = 0;
    $nth++;
    $self->{fp} = Aegis::Failpoint->new(scratch("failpoints-$nth") . '/slots');
    $self->{stack} = Aegis::Stack->own("faults-$nth", durable => $args{durable},
        env => { NGX_WORKERS => 2, RESTART_S => '0.1', AEGIS_FAILPOINTS => $self->{fp}{file}, %{ $args{env} // {} } });
    $self->{inv} = $self->ledgers;
    return $self;
}

# New ledgers, on a connection of their own.
sub ledgers ($self) {
    $self->{pg_ledger} = Aegis::Pg->attach(%{ $self->stack->pg }, dbh => {});
    my $inv = Aegis::Invariants->new($self->{pg_ledger}->connect);
    return $inv;
}

sub stack ($self) { return $self->{stack} }
sub pg ($self) { return $self->{stack}->pg }
sub fp ($self) { return $self->{fp} }
sub http ($self) { return $self->{stack}->http }
sub run_dir ($self) { return $self->{stack}->run_dir }

sub rand ($self, $n) {
    $self->{seed} = ($self->{seed} * 1103515245 + 12345) & 0x7fffffff;
    return ($self->{seed} >> 8) % $n;
}

sub violation ($self, $what) { push @{ $self->{bad} }, $what }
sub must ($self, $ok, $what) { $self->violation($what) unless $ok; return $ok }
sub say ($self, $fact, $value) { $self->{facts}{$fact} = $value }

# A fact that has to come by itself; how long it took, or a violation.
sub comes ($self, $what, $seconds, $code) {
    my $began = time;
    my $v = wait_for($what, $seconds, $code, quiet => 1);
    $self->must($v, "in vain for $seconds s: $what");
    return $v ? time - $began : undef;
}

sub chaos ($self, %args) {
    my $c = Aegis::Chaos->new(http => [ $self->http ], tag => 'f' . ++$self->{n_chaos} . "-$$", seed => $self->rand(1 << 30), %args);
    push @{ $self->{chaos} }, $c;
    return $c;
}

# Load while code runs, which is asked again and again and says when it is done.
sub under_load ($self, $done, %args) {
    my $timeout = delete $args{timeout} // 120;
    my $c = $self->chaos(%args);
    $self->must($c->drive($done, $timeout), "the clients were not done in $timeout s");
    return $c;
}

# --- the parts of the installation

# A second gateway beside the first, with another port. An Aegis::Http of it.
sub second_gateway ($self) {
    return $self->{second} if $self->{second};
    my ($run, $port) = ($self->run_dir, free_port());
    my $conf = slurp("$run/nginx/nginx.conf");
    $conf =~ s{pid/nginx\.pid}{pid/nginx2.pid};
    $conf =~ s{listen 127\.0\.0\.1:\d+ ssl}{listen 127.0.0.1:$port ssl};
    $conf =~ s{/log/nginx-}{/log/nginx2-}g;
    $conf =~ s{\Q$run\E/nginx/(client_body|proxy|fastcgi|uwsgi|scgi)}{$run/nginx2/$1}g;
    mkdir "$run/nginx2";
    spew("$run/nginx2/nginx.conf", $conf);
    my ($uid, $gid) = (stat "$run/nginx/nginx.conf")[4, 5];
    chown $uid, $gid, "$run/nginx2", "$run/nginx2/nginx.conf";
    run_ok([ $self->stack->as_service('nginx', '-p', "$run/nginx2", '-c', "$run/nginx2/nginx.conf", '-e', "$run/log/nginx2-error.log") ],
        cwd => $run, env => { AEGIS_FAILPOINTS => $self->{fp}{file}, Aegis::Stack::preload() });
    Aegis::Test::at_end(sub { kill 'QUIT', grep { $_ } eval { slurp("$run/pid/nginx2.pid") + 0 } });
    $self->{second} = Aegis::Http->new(url => "https://127.0.0.1:$port", ca => $self->stack->e('AEGIS_CA'), token => $self->stack->token);
    wait_for('the second gateway', 15, sub { $self->{second}->get('/readyz')->status == 200 }) or die "no second gateway\n";
    return $self->{second};
}

# PostgreSQL behind a fault proxy, for the gateway (and the roles that are named).
# Undone at the end of the fault.
sub proxy_pg ($self, @roles) {
    my $port = $self->pg->{port};
    my $proxy = $self->{proxy_pg} //= Aegis::Proxy->new('pg', $port);
    my $to = $proxy->port;
    push @{ $self->{undo} }, $self->stack->nginx_edit(sub ($c) { $c =~ s/port=$port\b/port=$to/gr });
    $self->_proxy_roles(sub ($c) { $c =~ s/port=$port\b/port=$to/gr }, @roles) if @roles;
    push @{ $self->{undo} }, sub { $proxy->say('pass') };
    return $proxy;
}

# The bus behind one, for roles.
sub proxy_nats ($self, @roles) {
    my ($port) = $self->stack->e('NATS_URL') =~ /:(\d+)$/;
    my $proxy = $self->{proxy_nats} //= Aegis::Proxy->new('nats', $port);
    my $to = $proxy->port;
    $self->_proxy_roles(sub ($c) { $c =~ s/(\@127\.0\.0\.1:)$port\b/$1$to/gr }, @roles);
    push @{ $self->{undo} }, sub { $proxy->say('pass') };
    return $proxy;
}

# Roles read these settings when they start.
sub _proxy_roles ($self, $code, @roles) {
    my $again = sub { for my $r (@roles) { $self->stack->wait_worker($r, $self->stack->kill_worker($r, 'TERM')) } };
    my $undo = $self->stack->conf_edit('aegis.yaml', $code);
    $again->();
    push @{ $self->{undo} }, sub { $undo->(); $again->() };
}

# PostgreSQL of the installation, by hand.
sub pg_ctl ($self, @args) {
    my ($bin) = sort { $b cmp $a } glob '/usr/lib/postgresql/*/bin';
    my $run = $self->run_dir;
    run_ok([as_postgres("$bin/pg_ctl", '-D', "$run/pg", '-w', '-l', "$run/log/postgres.log", @args)], cwd => '/');
    $self->pg->disconnect;
}

# A script step that leaves a line for each time that it acts.
sub effect_script ($self, $seconds = 0) {
    my $file = $self->stack->effect_file;
    $self->stack->add_script('t-effect.sh', "#!/bin/sh\n# leaves one line for each time that it acts\nsleep $seconds\n"
        . "printf '%s %s %s %s\\n' \"\$AEGIS_EXEC_ID\" \"\$AEGIS_PHASE\" \"\$AEGIS_STEP\" \"\$AEGIS_ATTEMPT\" >>$file\n");
    $self->{effects} = $file;
    return 't-effect.sh';
}

# --- a round

# What cases are parked for that a person looks into: a step that may not be repeated
# and whose outcome its executor took with it. Say resume; anything else is wrong.
sub resume_parked ($self) {
    for my $c (@{ $self->pg->rows(q{SELECT case_id, version, reason FROM aegis.ops_case WHERE status = 'PARKED' AND } . $auto) }) {
        next if $self->{resumed}{"$c->{case_id} $c->{version}"}++;
        $self->must($c->{reason} =~ /unknown/i, "case $c->{case_id} was parked: $c->{reason}");
        $self->{facts}{resumed}++;
        $self->http->write('PATCH', "/case/$c->{case_id}/transition", { event => 'resume', reason => 'looked into by a person' });
    }
}

sub settle ($self) {
    $self->fp->disarm_all;
    $_->() for splice @{ $self->{undo} //= [] };
    my $took = $self->comes('every automatic case to be CLOSED', $self->{patience} // 90, sub {
        $self->resume_parked;
        !$self->pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE status <> 'CLOSED' AND } . $auto);
    });
    delete $self->stack->{nats};    # the broker puts out who was silent for minutes
    $self->must($self->stack->quiet(60), 'not everything was published and consumed');
    $self->say('settled after s', sprintf '%.1f', $took) if $took;
    my $inv = $self->{inv};
    eval { $inv->{dbh}->do('SELECT 1 FROM t_client LIMIT 1'); 1 } or $inv = $self->{inv} = $self->ledgers;
    for my $c (splice @{ $self->{chaos} //= [] }) {
        $self->violation($_) for $c->wrong;
        $c->settle($inv);
        $self->{facts}{$_} += $c->n($_) for grep { $c->n($_) } sort keys %{ $c->{n} };
    }
    $inv->bus_nats($self->stack->nats) unless $self->{no_bus};
    if ($self->{effects}) {
        $inv->{dbh}->do('DELETE FROM t_effect');
        $inv->effects(slurp($self->{effects}));
    }
    $self->violation($_) for $inv->violations;
    $self->violation("log: $_") for $self->stack->complaints(allow => [qr/exited on signal 9/, @{ $self->{allow} // [] }]);
    $self->stack->mark_logs;
    $inv->{dbh}->do("DELETE FROM $_") for qw(t_client t_read);
    $self->{allow} = [];
}

# Run one fault $n times: what was seen.
sub seen ($self, $fault, $n) {
    @$self{qw(bad facts)} = ([], {});
    # what its keys and tags carry: a soak comes back to the same fault
    $self->{mark} = "$$-" . ++$self->{n_seen};
    my ($began, $seed) = (time, $self->{seed});
    eval { $fault->{code}->($self, $n); 1 } or $self->violation("broken off: $@");
    eval { $self->settle; 1 } or $self->violation("not settled: $@");
    my @bad = @{ $self->{bad} };
    my %row = (fault => join(" ", $fault->{name}, grep { $fault->{name} eq "role-points" } $ENV{ROLE} // ()), title => $fault->{title}, count => $n, violations => scalar @bad,
        seconds => sprintf('%.1f', time - $began) + 0, seed => $seed, facts => $self->{facts});
    push @{ $self->{done} }, \%row;
    return \%row;
}

# The same as a test.
sub run_one ($self, $fault, $n) {
    my %row = %{ $self->seen($fault, $n) };
    my @bad = @{ $self->{bad} };
    is(scalar @bad, 0, "$fault->{name} x $n: $fault->{title}") or diag(map { "  $_\n" } @bad > 12 ? (@bad[0 .. 11], '...') : @bad);
    note("  $_: $self->{facts}{$_}") for sort keys %{ $self->{facts} };
    note("  seconds: $row{seconds}");
}

# level: fast, some or full; only: names.
sub run_all ($self, $level, @only) {
    note("seed $self->{seed}");
    for my $f (@all) {
        next if @only ? !grep { $f->{name} eq $_ } @only : !$f->{counts}{$level};
        $self->run_one($f, $ENV{N} || ($f->{counts}{$level} // $f->{counts}{some} // $f->{counts}{full}));
    }
}

# What is in the file of other faults, and of these what was seen now.
sub record ($self, $file, $level) {
    my $old = eval { json_decode(slurp($file)) } // [];
    my %new = map { $_->{fault} => { %$_, level => $level, at => scalar gmtime } } @{ $self->{done} };
    make_path($file =~ s{/[^/]*$}{}r);
    spew($file, json_encode([ (grep { !$new{ $_->{fault} } } @$old), map { $new{ $_->{fault} } } @{ $self->{done} } ]) . "\n");
}

1;
