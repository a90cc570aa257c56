# Aegis::Faults::Signals: faults of what takes signals in and of what looks at them:
# each failpoint of the sensor, the analyst and the librarian, and both killed with
# -9 at random, while senders send again whatever was not answered.
# Invariant: each sample is sent until it is answered, some once more; so each has to
# be counted once, each alert be one finding and one case, each document be read once.
package Aegis::Faults::Signals;

use v5.36;
use Time::HiRes qw(time);
use Aegis::Faults;
use Aegis::Proto qw(write_request snappy);
use Aegis::Test;

my $SAMPLES = 5;

# Until it is answered with what is wanted; how many tries it took.
sub taken ($f, $path, $type, $body, $want, @headers) {
    my $tries = 0;
    my $ok = wait_for("an answer of $path", 90, sub {
        $tries++;
        my $r = eval { $f->http->with(timeout => 20)->request('POST', $path, body => $body, headers => ['Content-Type', $type, @headers]) };
        $f->violation("$path: " . $r->brief) if $r && $r->status =~ /^4/ && $r->status != 429;
        return $r && $r->status == $want;
    }, quiet => 1);
    return $f->must($ok, "$path was not answered with $want");
}

# So many samples of a series of its own, in a minute that has ended.
sub samples ($f, $name, $again) {
    my $minute = int(time / 60) * 60_000 - 120_000;
    my $body = snappy(write_request([{ __name__ => $name, service => 'counted' }, map { [$minute + $_ * 1000, $_] } 1 .. $SAMPLES]));
    for (0 .. $again) { taken($f, '/api/v1/write', 'application/x-protobuf', $body, 204, 'Content-Encoding', 'snappy') }
    push @{ $f->{series} }, $name;
}

sub alert ($f, $name) {
    my $body = json_encode({ version => '4', status => 'firing', receiver => 'aegis', groupLabels => {}, commonLabels => {}, commonAnnotations => {},
        alerts => [{ status => 'firing', labels => { alertname => $name, severity => 'critical', namespace => 'twice', service => $name, env => 'staging' },
            annotations => { summary => $name }, startsAt => utc(time), endsAt => '0001-01-01T00:00:00Z', fingerprint => $name }] });
    for (1, 2) { taken($f, '/ingest/alertmanager', 'application/json', $body, 200) }
    push @{ $f->{alerts} }, $name;
}

sub utc ($t) { my @t = gmtime $t; return sprintf '%04d-%02d-%02dT%02d:%02d:%02dZ', $t[5] + 1900, $t[4] + 1, @t[3, 2, 1, 0] }

sub document ($f, $name) {
    my $key = new_key('doc');
    my $ok = wait_for('a document to be taken', 60, sub {
        my $r = $f->http->with->write('POST', '/kb/ingest', { title => $name, format => 'text', body => "what to do about $name\n\nRead $name from its beginning." }, key => $key);
        return $r->status == 201 || $r->status == 202 ? $r : undef;
    }, quiet => 1) or return $f->violation("document $name was not taken");
    push @{ $f->{documents} }, $ok->json->{doc_id};
}

# A series that was flat and is not: the mark is put back, so that it is read.
sub rise ($f, $name) {
    my $res = "urn:k8s:svc:twice/$name";
    for my $part ([120, 4, '0.01 + 0.004 * sin(n * 1.7)'], [3, 1, '0.5']) {
        $f->pg->do(qq{INSERT INTO aegis.metric_1m (tenant, resource, metric, bucket, samples, avg, max, p95)
            SELECT 'default', ?, 'error_rate', date_trunc('minute', now()) - make_interval(mins => n), 60, $part->[2], $part->[2], $part->[2]
              FROM generate_series(?::int, ?::int) n ON CONFLICT DO NOTHING}, $res, $part->[1], $part->[0]);
    }
    look_again($f);
    push @{ $f->{risen} }, $res;
}

sub look_again ($f) { $f->pg->do(q{UPDATE aegis.analyst_mark SET mark = '-infinity' WHERE source = 'metric'}) }

# Each was counted, found, opened and read once; and their cases are laid aside.
sub counted ($f) {
    my @series = splice @{ $f->{series} // [] };
    if (@series) {
        my $sum = sub { +{ map { $_->{metric} => $_->{n} } @{ $f->pg->rows(q{SELECT metric, sum(samples) AS n FROM aegis.metric_1m WHERE metric = ANY (?) GROUP BY 1}, \@series) } } };
        # what is there is written when it stops, or with the next minute
        $f->stack->wait_worker('sensor', $f->stack->kill_worker('sensor', 'TERM'));
        $f->comes('every sample to be counted', 90, sub { my $n = $sum->(); !grep { ($n->{$_} // 0) < $SAMPLES } @series });
        my $n = $sum->();
        for my $s (@series) { $f->must(($n->{$s} // 0) == $SAMPLES, "$s: $SAMPLES samples were sent, " . ($n->{$s} // 0) . ' are counted') }
        $f->{facts}{'series counted'} += @series;
    }
    my @res = ((map { "urn:k8s:svc:twice/$_" } splice @{ $f->{alerts} // [] }), splice @{ $f->{risen} // [] });
    for my $res (@res) {
        $f->comes("a case of $res", 60, sub { $f->pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE labels ->> 'resource' = ?}, $res) });
        my ($opened, $ids, $findings) = $f->pg->dbh->selectrow_array(q{SELECT count(*) FILTER (WHERE decision = 'opened'), count(DISTINCT case_id), count(*) FROM aegis.finding WHERE resource = ? AND kind <> 'missing'}, undef, $res);
        my $cases = $f->pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE labels ->> 'resource' = ? AND labels ->> 'detector' <> 'missing'}, $res);
        next if $opened == 1 && $ids == 1 && $cases == 1;
        my $said = join '; ', map { join ' ', map { $_ // '-' } @$_ } @{ $f->pg->dbh->selectall_arrayref(
            'SELECT created_at, at, source, kind, metric, score, decision, rule, reason, case_id, fingerprint FROM aegis.finding WHERE resource = ? ORDER BY created_at', undef, $res) };
        $f->violation("$res: $findings findings, $opened of them opened a case, $ids named, $cases there: $said");
    }
    # a series that was handed in once is silent from then on, which is a finding too
    $f->{facts}{'found missing'} += $f->pg->one(q{SELECT count(*) FROM aegis.finding WHERE resource = ANY (?) AND kind = 'missing'}, \@res) if @res;
    $f->{facts}{'cases opened once'} += @res if @res;
    # what they would be verified by is not there: they were opened, and that is all
    for my $c (@{ $f->pg->rows(q{SELECT case_id FROM aegis.ops_case WHERE labels ->> 'resource' = ANY (?) AND status NOT IN ('PARKED', 'CLOSED')}, \@res) }) {
        $f->comes("$c->{case_id} to be laid aside", 30, sub { $f->http->write('PATCH', "/case/$c->{case_id}/transition", { event => 'force_park' })->status == 200 });
    }
    for my $doc (splice @{ $f->{documents} // [] }) {
        $f->comes("document $doc to be read", 150, sub { $f->http->get("/kb/doc/$doc")->json->{state} eq 'READY' });
        my $n = $f->pg->one('SELECT count(*) FROM aegis.kb_chunk WHERE doc_id::text = ?', $doc);
        $f->must($n == 1, "document $doc has $n passages");
        $f->{facts}{'documents read once'}++;
    }
}

my %of = (
    sensor => sub ($f, $i, $p) {
        samples($f, "fp_" . ($f->{mark} =~ tr/-/_/r) . "_$i", $i % 2);
        # a minute's end is far: a sensor that starts, or ends, writes what there is
        if ($p =~ /fold|ship|^pg\..* sensor$/) { kill 'TERM', $f->stack->pid('sensor') // () }
    },
    analyst => sub ($f, $i, $p) { $p =~ /signals/ || $i % 2 ? alert($f, "fp-$f->{mark}-$i") : rise($f, "fp-$f->{mark}-$i"); rise($f, "fp-$f->{mark}-$i-r") if $p =~ /after_(find|open)/ },
    librarian => sub ($f, $i, $p) { document($f, "fp-$f->{mark}-$i") },
);

Aegis::Faults::fault('signal-points', 'each failpoint of sensor, analyst and librarian', { some => 1, full => 20 }, sub ($f, $n) {
    my @trials;
    for my $p (Aegis::Failpoint->points) {
        for my $who ($p->{name} =~ /^pg\./ ? qw(sensor sensor-journal analyst librarian) : grep { $of{$_} && $p->{who} eq $_ } keys %of) {
            push @trials, map { my $what = $_; map { [$p->{name}, $who, $what] } 1 .. $n } @{ $p->{what} };
        }
    }
    my ($i, @slow) = (0);
    for my $t (Aegis::Faults::Workers::shuffle($f, @trials)) {
        my ($point, $who, $what) = @$t;
        my $role = $who =~ s/-.*//r;
        $f->stack->wait_worker($role) or $f->violation("$role is not back");
        my $fired = $f->fp->fired($point);
        $f->fp->arm($point, $what, who => $who, ms => 1500);
        my $began = time;
        $of{$role}->($f, ++$i, "$point $who");
        # the end of a look that had begun before may have set the mark after we had put it back
        my $again = time + 5;
        my $hit = wait_for("$point of $who", 40, sub {
            if ($role eq 'analyst' && time > $again) { look_again($f); $again = time + 5 }
            return $f->fp->fired($point) > $fired;
        }, quiet => 1);
        $f->fp->disarm($point);
        $f->must($hit, "$point of $who was not reached for $what") or next;
        $f->comes("$role to be there", 30, sub { $f->stack->pid($role) });
        push @slow, time - $began;
    }
    counted($f);
    $f->say(trials => scalar @trials);
});

Aegis::Faults::fault('signal-kills', 'kill -9 of sensor and analyst at random, while senders send', { some => 8, full => 200 }, sub ($f, $n) {
    for my $i (1 .. $n) {
        my $role = $f->rand(3) ? 'sensor' : 'analyst';
        my $at = time + $f->rand(1000) / 1000;
        my $killed;
        for my $k (1 .. 3) {
            if (time >= $at && !$killed) { $killed = $f->stack->kill_worker($role) if $f->stack->pid($role) }
            samples($f, "kill_" . ($f->{mark} =~ tr/-/_/r) . "_${i}_$k", $k == 2);
        }
        $killed ||= $f->stack->kill_worker($role) if $f->stack->pid($role);
        alert($f, "kill-$f->{mark}-$i") unless $i % 4;
    }
    counted($f);
});

1;
