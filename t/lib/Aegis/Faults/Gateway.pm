# Aegis::Faults::Gateway: faults of the front door: each failpoint on each route,
# workers killed under load, connections cut after COMMIT, races for one key and for
# one version, clients that leave.
package Aegis::Faults::Gateway;

use v5.36;
use IO::Socket::INET;
use List::Util qw(sum0);
use Time::HiRes qw(time);
use Aegis::Case;
use Aegis::Faults;
use Aegis::Test;

# Send until it is answered, with one key; [status, tries]. Nothing but no answer, 5xx
# and 409 in flight may come before.
sub until_answered ($f, $method, $path, $json, %opt) {
    my ($key, $http) = ($opt{key} // new_key('fault'), $f->http->with(timeout => 20));
    my $tries = 0;
    my $r = wait_for("an answer to $method $path", 40, sub {
        $tries++;
        my $r = $method eq 'GET' ? $http->get($path) : $http->write($method, $path, $json, key => $key, if_match => $opt{if_match});
        $f->{inv}->client('default', $key, $path =~ s{/[0-9a-f-]{36}/}{/{id}/}r, $r) if $r->status && $method ne 'GET';
        return $r->status && $r->status < 500 && $r->problem ne 'idempotency-key-in-flight' ? $r : undef;
    }, quiet => 1);
    return $f->violation("$method $path: no answer") unless $r;
    $f->violation("$method $path: " . $r->brief . " after $tries tries") if $r->status != $opt{want};
    return $r;
}

# One case by hand over each route; at(route) is called before each request.
sub walk ($f, $at) {
    my $go = sub ($want, $method, $path, $json = undef, %opt) {
        $at->("$method " . ($path =~ s{/[0-9a-f-]{36}}{/{id}}r));
        return until_answered($f, $method, $path, $json, want => $want, %opt);
    };
    my $id = $go->(201, 'POST', '/case/create', { title => 'fault', mode => 'manual' })->json->{case_id};
    my $c = bless { http => $f->http->with, id => $id }, 'Aegis::Case';
    my $move = sub ($event, $v) { $go->(200, 'PATCH', "/case/$id/transition", { event => $event }, if_match => "\"$v\"") };
    $move->('start_analysis', 1);
    my $plan = $go->(201, 'POST', '/plan/generate', { case_id => $id, plan => Aegis::Case::echo_plan() })->json->{plan_id};
    $move->('plan_ready', 2);
    $go->(201, 'POST', '/gate/eval', { case_id => $id });
    $f->comes('EXECUTING', 30, sub { $c->get->json->{status} eq 'EXECUTING' });
    my $exec = $go->(202, 'POST', '/adapter/exec', { case_id => $id })->json->{exec_id};
    $f->comes('VERIFYING', 30, sub { $c->get->json->{status} eq 'VERIFYING' });
    $go->(409, 'POST', "/exec/$exec/cancel", { reason => 'late' });
    $go->(201, 'POST', '/verify/run', { case_id => $id });
    $f->comes('CLOSED', 30, sub { $c->get->json->{status} eq 'CLOSED' });
    $go->(200, 'GET', $_) for "/case/$id", "/case/$id/timeline", '/case?limit=5', "/plan/$plan", "/gate/$id", "/exec/$exec", "/case/$id/verify";
    return $id;
}

Aegis::Faults::fault('gateway-points', 'each failpoint of the gateway on each route', { some => 1, full => 20 }, sub ($f, $n) {
    my ($trials, $missed) = (0, 0);
    for my $p (grep { $_->{who} eq 'gateway' } Aegis::Failpoint->points) {
        for my $what (@{ $p->{what} }) {
            for (1 .. $n) {
                walk($f, sub ($route) {
                    # a read has no body to wait for
                    return if $p->{name} eq 'gw.after_body' && $route =~ /^GET/;
                    $f->fp->arm($p->{name}, $what, ms => 150);
                    $trials++;
                });
                $f->fp->disarm($p->{name});
            }
            $f->must($f->fp->fired($p->{name}), "$p->{name} was never reached");
        }
    }
    $f->say(trials => $trials);
    $f->say(fired => eval { my $s = 0; $s += $f->fp->fired($_->{name}) for grep { $_->{who} eq 'gateway' } Aegis::Failpoint->points; $s });
});

Aegis::Faults::fault('F1', 'kill -9 of an nginx worker at any moment, under load', { fast => 6, some => 40, full => 500 }, sub ($f, $n) {
    push @{ $f->{undo} }, $f->stack->nginx_edit(sub ($c) { $c =~ s{(listen 127\.0\.0\.1:\d+ ssl;)}{$1\n        add_header X-Worker \$pid always;}r });
    my ($killed, $next, %dead) = (0, time + 0.2);
    my $c = $f->under_load(sub {
        return $killed >= $n && time > $next if time < $next;
        my @w = grep { !$_->{exiting} && $_->{cmd} =~ /worker process/ } $f->stack->nginx_workers;
        return 0 if @w < 2;
        return 1 if $killed >= $n;
        my $pid = $w[ $f->rand(scalar @w) ]{pid};
        kill 'KILL', $pid;
        $dead{$pid} = 1;
        $killed++;
        $next = time + 0.05 + $f->rand(150) / 1000;
        return 0;
    }, clients => 16, timeout => 60 + $n);
    # a worker that dies takes the connections that it holds, and no others
    my %lost = %{ $c->{lost} // {} };
    my $new = delete $lost{new} // 0;
    $f->say('requests without an answer, of workers that were killed' => sum0(map { $lost{$_} } grep { $dead{$_} } keys %lost));
    $f->say('on connections that had carried none' => $new);
    $f->must($dead{$_}, "worker $_ lives, and $lost{$_} of its requests had no answer") for sort keys %lost;
    $f->must($new <= $n * 16, "more requests were lost than the killed workers can have held");
});

# What stands for it is started again, as a service is: at once, or when its workers have
# gone on without it for a moment.
Aegis::Faults::fault('F2', 'kill -9 of the master of nginx, and the same nginx again', { some => 3, full => 50 }, sub ($f, $n) {
    my $run = $f->run_dir;
    my ($i, $at, $next, $acked, @left) = (0, 'up', 0, 0);
    $f->under_load(sub {
        my $first = $f->{chaos}[-1]->n('first');
        if ($at eq 'up' && $first > $acked + 40) {
            return 1 if $i >= $n;
            @left = map { $_->{pid} } $f->stack->nginx_workers;
            kill 'KILL', $f->stack->pid('nginx');
            ($at, $next, $acked) = ('orphans', time + ($i % 2 ? 0.5 : 0), $first);
        }
        elsif ($at eq 'orphans' && time >= $next) {
            $f->must($first > $acked, 'workers without a master answer') if $i % 2;
            kill 'KILL', @left;
            wait_for('the workers to end', 10, sub { !grep { alive($_) } @left });
            unlink "$run/pid/nginx.pid";
            run_ok([ $f->stack->as_service('nginx', '-p', "$run/nginx", '-c', "$run/nginx/nginx.conf", '-e', "$run/log/nginx-error.log") ],
                cwd => $run, env => { AEGIS_FAILPOINTS => $f->{fp}{file}, Aegis::Stack::preload() });
            ($at, $acked, $i) = ('up', $first, $i + 1);
        }
        return 0;
    }, clients => 8, auto => 0.1, timeout => 60 + 5 * $n);
});

# a Bind of this statement goes up, what comes back is swallowed and the connection ends
Aegis::Faults::fault('F8', 'the connection to PostgreSQL is cut after COMMIT was sent', { fast => 10, some => 50, full => 500 }, sub ($f, $n) {
    my $proxy = $f->proxy_pg;
    my $before = $proxy->cuts;
    my $asked = 0;
    $f->under_load(sub {
        my $cuts = $proxy->cuts - $before;
        return 1 if $cuts >= $n;
        if ($asked <= $cuts) { $asked = $cuts + 1; $proxy->say('cut ' . ($f->rand(3) ? 'case_transition' : 'case_create') . ' 1') }
        return 0;
    }, clients => 8, timeout => 30 + $n);
    $f->say(cuts => $proxy->cuts - $before);
});

Aegis::Faults::fault('F22', 'one key at once on two gateways by 16 clients', { fast => 10, some => 200, full => 5000 }, sub ($f, $n) {
    my @gw = ($f->http, $f->second_gateway);
    my @conn = map { my $h = $gw[$_ % 2]; { http => $h, s => $h->open_socket } } 0 .. 15;
    my (%said, $tag);
    $tag = "race-$f->{mark}";
    for my $round (1 .. $n) {
        my $key = "$tag-$round";
        my %json = (title => $key, mode => 'manual', tags => [$tag]);
        my @r = burst($f, \@conn, sub ($c) { $c->{http}->render('POST', '/case/create', json => \%json, headers => ['Idempotency-Key', $key]) });
        my (%id, $first);
        for my $r (@r) {
            $said{ $r->problem || $r->status }++;
            $f->{inv}->client('default', $key, '/case/create', $r);
            if ($r->status == 201) { $id{ $r->json->{case_id} } = 1; $first++ if !$r->header('idempotent-replayed') }
            else { $f->must($r->problem eq 'idempotency-key-in-flight', "$key: " . $r->brief) }
        }
        $f->must(keys %id == 1 && $first == 1, "$key: " . keys(%id) . " cases, " . ($first // 0) . ' first answers');
    }
    $f->must($f->pg->one('SELECT count(*) FROM aegis.ops_case WHERE tags @> jsonb_build_array(?::text)', $tag) == $n, 'not one case a key');
    $f->say("answers $_" => $said{$_}) for sort keys %said;
});

# The same moment on every connection: one request each, all answers.
sub burst ($f, $conns, $bytes) {
    my %of;
    for my $c (@$conns) {
        $c->{s} //= $c->{http}->open_socket;
        ($c->{in}, $c->{r}) = ('', undef);
        $of{ fileno $c->{s} } = $c;
    }
    syswrite $_->{s}, $bytes->($_) for @$conns;
    my $sel = IO::Select->new(map { $_->{s} } @$conns);
    my $until = time + 30;
    while ($sel->count && time < $until) {
        my @ready = grep { $_->{s}->can('pending') && $_->{s}->pending && !$_->{r} } @$conns;
        for my $s (@ready ? map { $_->{s} } @ready : $sel->can_read(1)) {
            my $c = $of{ fileno $s };
            my $n = sysread $s, $c->{in}, 65536, length $c->{in};
            my $end = defined $n ? $n == 0 : !Aegis::Http::_later();
            $c->{r} = Aegis::Http::_parse(\$c->{in}, 0, $end) // ($end ? Aegis::Http::_no_answer($c->{in}) : next);
            $sel->remove($s);
            $c->{s} = undef if $c->{r}{close} || $end;
        }
    }
    return map { $_->{r} // do { $_->{s} = undef; Aegis::Http::_no_answer('') } } @$conns;
}

Aegis::Faults::fault('F24', '64 clients at once with If-Match on one version', { fast => 5, some => 60, full => 2000 }, sub ($f, $n) {
    my @gw = ($f->http, $f->second_gateway);
    my @conn = map { my $h = $gw[$_ % 2]; { http => $h, s => $h->open_socket, i => $_ } } 0 .. 63;
    my %said;
    my @event = qw(start_analysis force_park);
    my ($id, $v) = (undef, 9);
    for my $round (1 .. $n) {
        if ($v > 2) {
            my $r = $f->http->write('POST', '/case/create', { title => "version $round", mode => 'manual' });
            ($id, $v) = ($r->json->{case_id}, 1);
        }
        my @r = burst($f, \@conn, sub ($c) {
            $c->{key} = "v-$f->{mark}-$round-$c->{i}";
            return $c->{http}->render('PATCH', "/case/$id/transition", json => { event => $event[$v - 1] },
                headers => ['Idempotency-Key', $c->{key}, 'If-Match', "\"$v\""]);
        });
        my $ok = 0;
        for my $i (0 .. $#r) {
            my $r = $r[$i];
            $said{ $r->problem || $r->status }++;
            $f->{inv}->client('default', $conn[$i]{key}, '/case/{id}/transition', $r) if $r->status;
            $ok++ if $r->status == 200;
            $f->must($r->status =~ /^(200|412)$/ || $r->problem eq 'busy', "round $round: " . $r->brief);
        }
        $f->must($ok == 1, "round $round: $ok of 64 have moved one version");
        $v++;
        $f->must($f->pg->one('SELECT version FROM aegis.ops_case WHERE case_id = ?', $id) == $v, "round $round: not one version on");
    }
    $f->say("answers $_" => $said{$_}) for sort keys %said;
});

Aegis::Faults::fault('F21', 'the answer is lost after the commit; the retry goes to the other gateway', { fast => 10, some => 100, full => 2000 }, sub ($f, $n) {
    my $second = $f->second_gateway;
    $f->must($f->http->get('/readyz')->status == 200, 'the first gateway is there');
    for my $i (1 .. $n) {
        $f->fp->arm($f->rand(2) ? 'gw.before_header' : 'gw.before_body', 'error');
        my ($key, %json) = ("lost-$f->{mark}-$i", title => "lost $i", mode => 'manual');
        my $lost = $f->http->with->write('POST', '/case/create', \%json, key => $key);
        $f->must($lost->status == 0, "an answer was lost and came: " . $lost->brief);
        my $r = $second->write('POST', '/case/create', \%json, key => $key);
        my $again = $f->http->with->write('POST', '/case/create', \%json, key => $key);
        $f->must($_->status == 201 && ($_->header('idempotent-replayed') // '') eq 'true', "$key: " . $_->brief) for $r, $again;
        $f->{inv}->client('default', $key, '/case/create', $_) for $r, $again;
    }
});

Aegis::Faults::fault('F20', 'clients leave at any byte of a request or its answer, by RST and by FIN', { fast => 200, some => 2000, full => 50_000 }, sub ($f, $n) {
    my $port = plain_port($f);
    my ($sent, $tag) = (0, "gone-$f->{mark}");
    for my $i (1 .. $n) {
        my $s = IO::Socket::INET->new(PeerHost => '127.0.0.1', PeerPort => $port, Timeout => 5) or next;
        my $bytes = $f->http->render('POST', '/case/create', json => { title => "gone $i", mode => 'manual', tags => [$tag] }, headers => ['Idempotency-Key', "$tag-$i"]);
        my $cut = $f->rand(length($bytes) + 200);
        syswrite $s, substr $bytes, 0, $cut;
        # behind its end: so many bytes of the answer are read first
        if ($cut > length $bytes) {
            IO::Select->new($s)->can_read($f->rand(3) ? 1 : 0.001);
            sysread $s, my $some, 1 + $f->rand(200);
        }
        my $how = $f->rand(3);
        if ($how == 0) { setsockopt $s, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0 }
        elsif ($how == 1) { shutdown $s, 1 }
        close $s;
        $sent++ if $cut >= length $bytes;
    }
    $f->say('requests that were complete' => $sent);
    $f->comes('the last of them to end', 20, sub { $f->pg->one(q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'aegis_gateway' AND state <> 'idle'}) == 0 });
    my $made = $f->pg->one('SELECT count(*) FROM aegis.ops_case WHERE tags @> jsonb_build_array(?::text)', $tag);
    $f->say('cases made' => $made);
    $f->must($made <= $sent, "$made cases by $sent complete requests");
    $f->must($f->http->with->get('/livez')->status == 200, 'the gateway serves');
});

# A listener without TLS beside the other: bytes are what they are. Until the end.
sub plain_port ($f) {
    return $f->{plain} if $f->{plain};
    my $port = free_port();
    $f->stack->nginx_edit(sub ($c) { $c =~ s{(listen 127\.0\.0\.1:\d+ ssl;)}{$1\n        listen 127.0.0.1:$port;}r });
    return $f->{plain} = $port;
}

use Socket qw(SOL_SOCKET SO_LINGER);

1;
