# 25if_match.t: conditional writes: If-Match in all its forms, expected_version,
# many clients on one version, and the two ways in which nginx itself could
# spoil it: its not_modified filter (a committed PATCH that is answered 412) and
# gzip (a weakened ETag that If-Match can never match again).
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Case;
use Aegis::Pg;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;

# A case at version 3, parked.
sub parked () {
    my $c = Aegis::Case->create($http, mode => 'manual');
    $c->must('start_analysis');
    $c->must('force_park');
    return $c;
}

my @forms = (
    ['the current version',             '"3"',                    200],
    ['a list with it',                  '"1", "3", "5"',          200],
    ['a list without blanks',           '"1","3"',                200],
    ['a list with empty elements',      ', "3",,',                200],
    ['a star',                          '*',                      200],
    ['a list with a weak tag too',      'W/"2", "3"',             200],
    ['a list with a foreign tag too',   '"abc", "3"',             200],
    ['an older version',                '"2"',                    412],
    ['a newer version',                 '"4"',                    412],
    ['a list without it',               '"1", "2"',               412],
    ['the current version, weak',       'W/"3"',                  412],
    ['a foreign tag',                   '"abc"',                  412],
    ['an empty tag',                    '""',                     412],
    ['the version with a zero before',  '"03"',                   412],
    ['a blank in a tag',                '" 3"',                   400],
    ['a version with no room',          '"99999999999999999999"', 412],
    ['an empty list',                   '',                       412],
    ['no quotes',                       '3',                      400],
    ['half a quote',                    '"3',                     400],
    ['a star in a list',                '*, "3"',                 400],
    ['a small w',                       'w/"3"',                  400],
    ['nothing between',                 '"3" "4"',                400],
    ['a control character',             "\"3\x01\"",              400],
);
for my $f (@forms) {
    my ($what, $value, $status) = @$f;
    subtest "If-Match is $what" => sub {
        my $c = parked();
        my $before = $pg->fingerprint(case_id => $c->id);
        my $r = $c->say('resume', if_match => $value);
        is($r->status, $status, "it is answered $status") or diag($r->brief);
        if ($status == 200) {
            is($r->header('etag'), '"4"', 'with the new ETag');
            is($c->version, 4, 'and the case has moved');
        }
        else {
            is_deeply($pg->fingerprint(case_id => $c->id), $before, 'and nothing of the case changed');
            return unless $status == 412;
            is($r->problem, 'version-mismatch', 'a version mismatch');
            is($r->header('etag'), '"3"', 'with the ETag that would have matched');
            is($r->json->{current_version}, 3, 'and the version');
            is_deeply($r->json->{allowed_events}, [qw(start_analysis resume plan_ready)], 'and what is allowed');
        }
    };
}

subtest 'expected_version in the body' => sub {
    my $c = parked();
    my $before = $pg->fingerprint(case_id => $c->id);
    for my $v (1, 2, 4, 2147483646) {
        my $r = $c->say('resume', expected_version => $v);
        is($r->status, 409, "$v is refused with 409");
        is($r->problem, 'version-conflict', 'as a version conflict');
        is($r->json->{current_version}, 3, 'which names the version');
        is($r->header('etag'), '"3"', 'and has the ETag');
    }
    is($c->say('resume', expected_version => 3, if_match => '"2"')->status, 412, 'If-Match is judged first');
    is_deeply($pg->fingerprint(case_id => $c->id), $before, 'nothing of the case changed');
    is($c->say('resume', expected_version => 3, if_match => '"3"')->status, 200, 'both right: it moves');
    is($c->say('exec_done', if_match => '"1"')->status, 412, 'a condition that does not hold is said before the state machine');
};

subtest 'many clients on one version' => sub {
    for my $round (1 .. 6) {
        my $c = parked();
        my $by = $round % 2;
        my @r = $http->crowd([ map { { method => 'PATCH', path => '/case/' . $c->id . '/transition',
            json => { event => 'resume', reason => "client $_", $by ? () : (expected_version => 3) },
            headers => ['Idempotency-Key', new_key(), $by ? ('If-Match', '"3"') : ()] } } 1 .. 48 ], connections => 48);
        my @won = grep { $_->status == 200 } @r;
        is(scalar @won, 1, "round $round: exactly one of 48 gets 200");
        my $lost = $by ? 412 : 409;
        is((grep { $_->status == $lost } @r) + (grep { $_->problem eq 'busy' } @r), 47, "the others get $lost")
            or diag(join ' ', map { $_->brief } grep { $_->status != $lost && $_->status != 200 } @r);
        is($c->version, 4, 'and the version has grown by one');
        is((grep { $_->{version} == 4 } $c->timeline), 1, 'the timeline has one row for it');
    }
};

# --- nginx must not judge for itself what the module has answered
subtest 'a committed PATCH is answered 200, whatever conditions it carried' => sub {
    for my $h (['If-Match', '"3"'], ['If-Match', '*'], ['If-None-Match', '"4"'],
            ['If-Unmodified-Since', 'Thu, 01 Jan 1970 00:00:00 GMT'], ['If-Modified-Since', 'Fri, 31 Dec 2999 23:59:59 GMT'],
            ['Range', 'bytes=0-1']) {
        my $c = parked();
        my $r = $c->say('resume', headers => $h);
        is($r->status, 200, "$h->[0]: $h->[1] and the event took effect: 200") or diag($r->brief);
        is($r->json->{version}, 4, 'with the whole body');
        is($c->version, 4, 'and it did');
    }
    my $r = $http->write('POST', '/case/create', { title => 'x', mode => 'manual' }, headers => ['If-None-Match', '*']);
    is($r->status, 201, 'POST with If-None-Match is answered 201');
    is($http->write('POST', '/case/create', { title => 'x', mode => 'manual' }, headers => ['If-Match', '"7"'])->status, 201,
        'POST with If-Match too');
};

subtest 'gzip does not weaken the ETag' => sub {
    my $undo = $stack->nginx_edit(sub ($conf) {
        $conf =~ s/(http \{\n)/$1    gzip on; gzip_min_length 1; gzip_types *; gzip_proxied any;\n/ or die 'no http block';
        return $conf;
    });
    my $fresh = $stack->http;
    my $c = Aegis::Case->create($fresh, mode => 'manual', title => 'squeezed ' x 20);
    for my $r ($fresh->get('/case/' . $c->id, headers => ['Accept-Encoding', 'gzip']),
               $fresh->write('PATCH', '/case/' . $c->id . '/transition', { event => 'force_park' }, headers => ['Accept-Encoding', 'gzip'])) {
        my $etag = $r->header('etag') // '';
        like($etag, qr/^"\d+"$/, 'the ETag stays strong');
    }
    my $r = $fresh->get('/case/' . $c->id, headers => ['Accept-Encoding', 'gzip']);
    is($c->say('resume', if_match => $r->header('etag'))->status, 200, 'and can be used for If-Match');
    $undo->();
};

$stack->finish;
done_testing;
