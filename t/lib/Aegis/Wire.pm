# Aegis::Wire: what strangers put on the wire: requests out of a grammar of methods,
# targets, header lists, bodies and framings, some of them with their bytes changed,
# and the judgement of what came back.
# Invariant: a request is a function of the seed, its number and the ids it is given,
# so that whatever fails can be made again alone.
package Aegis::Wire;

use v5.36;
use Encode ();
use Aegis::Def;
use Aegis::Test;

# args: seed, token, other (a token of another tenant), case (ids that exist)
sub new ($class, %args) {
    my @routes = map { { method => $_->[1], path => $_->[2], schema => $_->[5] } } def_rows('routes', 'AEGIS_ROUTE');
    my @events = map { $_->[0] } def_rows('events', 'AEGIS_EVENT');
    my @states = map { $_->[0] } def_rows('states', 'AEGIS_STATE');
    my @often = grep { $_->{path} =~ m{^/case} } @routes;
    return bless { %args, routes => \@routes, often => \@often, events => \@events, states => \@states }, $class;
}

sub one (@of) { return $of[ rand @of ] }
sub chance ($percent) { return rand(100) < $percent }
sub key () { return sprintf 'k-%08x%08x', rand 2**32, rand 2**32 }
sub nobody () { return sprintf '%08x-%04x-4%03x-a%03x-%06x%06x', map { rand 2**$_ } 32, 16, 12, 12, 24, 24 }
sub bytes ($n) { return join '', map { chr int rand 256 } 1 .. $n }

# One of the first list almost always, one of the second now and then.
sub mostly ($percent, $usual, $strange) { return one(@{ chance($percent) ? $usual : $strange }) }

# Request number n: {n, bytes, method, whole, framing}. whole: nothing is missing, so
# an answer is owed without waiting; framing: good, both (smuggling), bad.
sub request ($self, $n) {
    srand $self->{seed} * 1_000_003 + $n;
    my $route = one(@{ $self->{routes} }, @{ $self->{often} }, @{ $self->{often} });
    my $method = mostly(88, [$route->{method}], [qw(GET HEAD OPTIONS POST PATCH PUT DELETE TRACE CONNECT PROPFIND get G), '', "GE\tT", 'A' x 64]);
    my $body = $method =~ /^(?:POST|PATCH|PUT)$/ || chance(5) ? $self->body($route->{schema}) : undef;
    my ($framing, $frame, $sent) = $self->framing($body);
    my $eol = mostly(97, ["\r\n"], ["\n", "\r", "\n\r", "\r\r\n"]);
    my $line = join mostly(98, [' '], ['  ', "\t", '']), $method, $self->target($route), $self->version;
    $line =~ s/ $//;
    my @lines = ($line, $self->headers($route), @$frame);
    my $text = join('', map { "$_$eol" } @lines, '') . $sent;
    my $whole = $framing eq 'good' && $eol eq "\r\n";
    if (chance(18)) { $text = $self->changed($text); $whole = 0; $framing = 'changed' }
    return { n => $n, bytes => $text, method => $method, whole => $whole, framing => $framing };
}

sub version ($self) {
    return mostly(95, ['HTTP/1.1'], ['HTTP/1.0', 'HTTP/1.1 ', '', 'HTTP/2.0', 'HTTP/1.2', 'HTTP/1', 'http/1.1', 'HTTP/01.1', 'HTTP/1.1x',
        'HTTP/11', 'HTTP/1.99999999999', 'XTTP/1.1', 'HTTP/0.9']);
}

sub id ($self) {
    my $id = mostly(85, $self->{case}, [nobody(), 'x', '', '..', '%2e%2e', 'x' x 300, '8e03978e-40d5-43dd-bc93-6894a57f932g', '%00', "\xff", '%ff']);
    $id =~ tr|a-z|A-Z| if chance(10);
    $id =~ s/(.)/sprintf '%%%02x', ord $1/e if chance(5) && length $id;
    return $id;
}

sub target ($self, $route) {
    my $p = $route->{path} =~ s/\{id\}/$self->id/er;
    $p = one("/$p", "$p/", "$p//", "/.$p", "/x/..$p", "$p;a=b", "$p#f", 'https://localhost' . $p, 'http://localhost:99999' . $p, "localhost:1", '*', '/', '',
        $p =~ s{/}{%2f}gr, $p =~ s{/}{\\}gr, "$p%0d%0aX-Injected:%201", "$p%20", "$p\xe2\x82", $p =~ tr|a-z|A-Z|r, "$p/../../..", "/$p/%2e%2e/%2e%2e/%2e%2e/%2e%2e",
        $p . '/x' x one(10, 1000, 4000, 5000), 'javascript:alert(1)', "$p\x01", "$p\x7f", "/aegis-error", '/aegis-error?x') if chance(12);
    return chance($route->{path} =~ m{^/case$|timeline$} ? 70 : 8) ? "$p?" . $self->query : $p;
}

sub query ($self) {
    my %v = (
        status => [ @{ $self->{states} }, 'x', 'new' ], state => $self->{states}, tenant => ['default', 'other', ''], limit => [1, 5, 200],
        tag => ['a', 'a+b', '%e4%b8%ad', '%00', '%', '%ff', 'x' x 65, '%f0%9f%98%80' x 64], cursor => ['abc', 'MTIuM3wwMTIzNDU2Nzg5YWJjZGVm', '-_' x 150],
        since => ['2026-01-01T00:00:00Z', '2026-01-01T00:00:00+08:00', '2026-01-01T00:00:00%2b08:00', '0001-01-01T00:00:00+15:59', '2026-13-01T00:00:00Z'],
        until => ['9999-12-31T23:59:60-15:59', '2100-02-29T00:00:00Z', '2030-01-01t00:00:00.999999999z'],
    );
    my @args = map { my $k = one(sort keys %v); "$k=" . one(@{ $v{$k} }) } 1 .. one(1, 1, 2, 3);
    push @args, one('', '=', 'x', 'x=y', 'limit', 'limit=', 'limit=201', 'limit=-1', 'limit=999999999999999999999', '%6cimit=1', 'a%0d%0aX-Injected:1=2', "\xff=1",
        'Limit=1', '?', 'q' x 3000) if chance(25);
    return join '&', @args;
}

sub headers ($self, $route) {
    my @h;
    push @h, 'Host: ' . mostly(95, ['localhost'], ['', 'a b', 'x' x 300, "\x01", '[::1', 'localhost:99999', 'a/b', '..']) if chance(98);
    push @h, 'Host: other' if chance(1);
    push @h, 'Authorization: ' . mostly(90, ["Bearer $self->{token}"], ["Bearer $self->{other}", "bearer  $self->{token}", 'Bearer', 'Bearer ', 'Basic eDp5', 'Bearer x',
        'Bearer ' . 'x' x 5000, "Bearer $self->{token} x", "Bearer \xff", 'Bearer e30.e30.', 'Bearer eyJhbGciOiJub25lIn0.e30.', 'Digest x=']) if chance(95);
    push @h, "Authorization: Bearer $self->{token}" if chance(1);
    if ($route->{schema} ne 'none') {
        push @h, 'Content-Type: ' . mostly(90, ['application/json'], ['application/json; charset=utf-8', 'application/json;charset="utf-8"', 'text/plain', '', 'application/json;x=y',
            'application/json, text/html', 'application/problem+json', 'APPLICATION/JSON', "application/json\x0b", 'application/json;charset=latin1']) if chance(97);
        push @h, 'Idempotency-Key: ' . mostly(80, [key(), '"' . key() . '"'], ['again', '"again"', '', '""', '"', '"a\\', 'x' x 255, 'x' x 256, '"a";q=1', '"a" , "b"', 'a b', "\xc3\xa9",
            '?1', ':YQ==:', '(a b)', '"a";*=']) if chance(95);
        push @h, 'Idempotency-Key: twice' if chance(2);
    }
    push @h, 'If-Match: ' . one('*', '"1"', '"1"', '"77"', '"2", "3"', 'W/"1"', '"x"', '', ',', '"', '"1" "2"', '"' . '9' x 30 . '"', join(',', map { "\"$_\"" } 1 .. 300)) if chance(20);
    push @h, 'If-None-Match: ' . one('*', '"1"', 'W/"1"', '"1", W/"2"', '"', '', '"x"x', join(',', map { "W/\"$_\"" } 1 .. 300)) if chance(20);
    push @h, 'Accept: ' . mostly(85, ['*/*', 'application/json'], ['text/html', 'application/*;q=0.5, text/*', '', ';', 'application/json;q=0', 'application/json;q=2', '"', ',' x 500,
        'application/json;v="' . '\\"' x 100 . '"', 'a/b;c="d', join(',', map { "a/b$_;q=0.$_" } 1 .. 99)]) for 1 .. one(0, 0, 1, 1, 2);
    push @h, 'traceparent: ' . one('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        '00-' . '0' x 32 . '-' . '0' x 16 . '-00', 'x', '', 'cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-' . 'x' x 500) for 1 .. one(0, 0, 0, 1, 2);
    push @h, one('Origin: https://app.example', 'Origin: null', 'Origin:', "Origin: https://app.example" . "\tx", 'Access-Control-Request-Method: PATCH', 'Access-Control-Request-Headers: a,b',
        'Range: bytes=0-1', 'Accept-Encoding: gzip', 'If-Modified-Since: x', 'X-Request-Id: a"b\\c', "X-Request-Id: \xff", 'Upgrade: h2c', 'Connection: upgrade', 'Connection: close',
        'Connection: keep-alive, x', 'Expect: 100-continue', 'Expect: x', 'Content-Encoding: gzip', 'Content-Encoding: identity', 'Cookie: ' . 'a=b;' x 100, 'TE: trailers', 'Trailer: x',
        'X-Forwarded-For: 1.2.3.4, x', 'Forwarded: for="_x"', 'Via: 1.1 x', "X-Tab:\tx\t", 'X_Y: z', 'tracestate: a=b', 'Prefer: x', 'Keep-Alive: timeout=5')
        for 1 .. one(0, 0, 1, 1, 2, 4);
    push @h, one(': x', 'no colon', "X: a\0b", "X: a\x01b", 'X : y', " folded", "\tX: y", 'X: ' . 'y' x one(2000, 8100, 8200, 40_000), "X\xff: y", "X: \xff\xfe", 'X' x 9000 . ': y', 'a: b' . "\n" . 'c: d',
        "X: y\rZ: 1", 'Content-Length: 0x10') if chance(4);
    push @h, map { "X-$_: y" } 1 .. one(20, 100, 500) if chance(1);
    return chance(30) ? sort { ($a =~ tr/a-z//) <=> ($b =~ tr/a-z//) } @h : @h;
}

# What the schema takes, as a rule; else what looks like it.
sub body ($self, $schema) {
    return bytes(int rand 200) if chance(4);
    my %v = (
        title => one('t', "t\x{e4}", 'x' x 200, 'x' x 201, '', "a\x01"), kind => one('incident', 'change', 'x'), severity => 'error', mode => mostly(90, ['manual'], ['auto', 'x']),
        tags => one([], ['a'], ['a', 'a'], [1], [map { "t$_" } 1 .. 33]), labels => one({}, { env => 'prod', risk => '0.2' }, { 'a b' => 'x' }, { a => 1 }, { map { ("l$_" => 'x') } 1 .. 33 }),
        tenant => mostly(90, ['default'], ['other', 1]), reason => one('', 'r', 'x' x 2001), correlation_id => one('c', '', 'x' x 201), event => mostly(95, $self->{events}, ['x', 1, undef]),
        expected_version => one(1, 2, 0, -1, 2147483647, 1.5, '1'), meta => one({}, { a => [1, 2, { b => undef }] }, { plan_id => nobody() }, { plan_id => 'x' }, { x => 'y' x 17_000 }),
        case_id => mostly(90, $self->{case}, [nobody(), 'x', nobody() =~ tr|a-f|A-F|r]), template => one('incident', 'change', 'x'), plan_id => nobody(),
        params => one({}, { script => 'a.sh' }, { risk => 'x' }, { script => '../x', window_s => -1 }), actor => one('a', 'principal', ''), nobody => 1,
        plan => one({ title => 't' }, { title => 't', steps => [ { action => 'echo' } ], rollback => [ { action => 'echo' } ], verify => [ { kind => 'exec' } ] }, { steps => [ {} ] }, []),
    );
    my @must = ({ create => ['title'], transition => ['event'] }->{$schema} // ['case_id'])->@*;
    my @may = ({ create => [qw(kind severity mode tags labels tenant reason correlation_id)], transition => [qw(reason expected_version meta correlation_id)],
        plan => [qw(template params plan)], gate => ['plan_id'] }->{$schema} // ['actor'])->@*;
    my %b = map { ($_ => $v{$_}) } (grep { chance(97) } @must), (grep { chance(25) } @may), (chance(3) ? one(sort keys %v) : ());
    my $text = json_encode(\%b);
    return $text if chance(80);
    return one(
        substr($text, 0, rand length $text), $text x 2, "\xef\xbb\xbf$text", Encode::encode('UTF-16', $text), "[$text]", '{"a":' x 40 . '1' . '}' x 40, '[' x 10_000,
        '{"title":"t","title":"u"}', '{"title":"\u0000"}', '{"title":"\ud800"}', "{\"title\":\"\xff\"}", '{"event":"resume","meta":{"n":1.7976931348623157e308}}',
        '{"event":"resume","meta":{"n":' . '9' x 400 . '}}', '{"title":"' . 'x' x 100_000 . '"}', '', ' ', 'null', '{}', "$text\0", '{"title":"' . 'y' x 300_000 . '"}');
}

# ($kind, [header lines], bytes behind the headers).
sub framing ($self, $body) {
    if (!defined $body) {
        return ('good', [], '') if chance(96);
        return ('good', [one('Content-Length: 0', "Content-Length:\t0 ")], '');
    }
    my $n = length $body;
    return ('good', ["Content-Length: $n"], $body) if chance(70);
    if (chance(60)) {
        my @parts = $body =~ /(.{1,${\ one(1, 7, 100, 4096, 60_000)}})/sg;
        @parts = ($body) if @parts > 3000;
        my $ext = mostly(85, [''], [';a=b', ';a="b;c"', ' ', ';' . 'x' x 1000]);
        my $text = join '', map { sprintf("%x", length) . "$ext\r\n$_\r\n" } grep { length } @parts;
        return ('good', ['Transfer-Encoding: chunked'], "${text}0\r\n\r\n") if $ext eq '' || $ext eq ';a=b';
        return ('bad', ['Transfer-Encoding: chunked'], $text . one("0\r\n\r\n", "0\r\nX-Trailer: 1\r\n\r\n", '', "0\r\n", "00000\r\n\r\n", "-1\r\n\r\n", "ffffffffffffffffff\r\n", "\r\n"));
    }
    my $smuggled = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    return ('both', one(["Content-Length: $n", 'Transfer-Encoding: chunked'], ['Transfer-Encoding: chunked', "Content-Length: $n"]), "0\r\n\r\n$smuggled") if chance(40);
    return ('bad', one(
        ["Content-Length: $n", 'Content-Length: 0'], ["Content-Length: $n, $n"], ["Content-Length: +$n"], ["Content-Length: -$n"], ["Content-Length: ${n}x"], ['Content-Length: ' . '9' x 30],
        ['Content-Length: '], ['Content-Length: ' . ($n + 100)], ['Content-Length: ' . int($n / 2)], ['Content-Length: 5000000'], ['Content-Length : 3'], ["Content-Length: $n"],
        ['Transfer-Encoding: gzip, chunked'], ['Transfer-Encoding: chunked, identity'], ['Transfer-Encoding: xchunked'], ["Transfer-Encoding: \x0bchunked"], ['Transfer-Encoding : chunked'],
        ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], ['Transfer-Encoding: Chunked'], ["Transfer-Encoding:\tchunked"],
        ["X: y\rTransfer-Encoding: chunked"], ['Transfer-Encoding: identity'], ["Transfer-Encoding: chunked\0"], []), one($body, "0\r\n\r\n$smuggled", "$body$smuggled", ''));
}

# A few bytes of it changed.
sub changed ($self, $text) {
    for (1 .. one(1, 1, 2, 4, 8)) {
        my $at = int rand length($text) || 0;
        my $len = int rand one(1, 4, 40);
        my $do = int rand 6;
        last unless length $text;
        if    ($do == 0) { substr $text, $at, 1, chr int rand 256 }
        elsif ($do == 1) { substr $text, $at, $len, '' }
        elsif ($do == 2) { substr $text, $at, 0, bytes(1 + $len) }
        elsif ($do == 3) { substr $text, $at, 0, substr($text, rand length $text, $len) x one(1, 2, 50) }
        elsif ($do == 4) { substr $text, $at, 0, one("\r\n", "\n", "\0", "\r\n\r\n", ' ', ':', '%', '"', "\xff", '0', ',') }
        else             { substr $text, $at, 1, substr($text, $at, 1) ^. chr(1 << int rand 8) }
    }
    return $text;
}

# --- judgement

my $type = qr{^(?:application/(?:problem\+)?json|text/plain; version=0\.0\.4(?:; charset=utf-8)?)$};

# What is wrong with the bytes that came back; '' when nothing is. q as of request();
# the probe, a GET of /healthz that asks to close, stands behind it when probed.
# Counts statuses into %$seen.
sub judge ($self, $q, $in, $probed, $seen) {
    my $head = $q->{bytes} =~ /HEAD/;
    my @answers;
    # a version that nginx takes for 0.9 is answered without a head
    if (length $in && $in !~ m{\AHTTP/1\.1 }) {
        $seen->{'0.9'}++;
        return 'no head and no JSON either' unless defined eval { json_decode($in) } || $in =~ /\A# HELP /;
        return '';
    }
    while (length $in) {
        $in =~ s/\A(HTTP\/1\.1 (\d{3}) ?[ -~]*)\r\n((?:[A-Za-z0-9-]+: ?[^\r\n\0]*\r\n)*)\r\n// or return 'not an answer: ' . substr($in, 0, 200);
        my ($status, %h) = ($2);
        for my $l (split /\r\n/, $3) { my ($k, $v) = split /: ?/, $l, 2; push @{ $h{ lc $k } }, $v }
        $seen->{$status}++;
        next if $status == 100;
        my $wrong = $self->_head($status, \%h);
        return "$status: $wrong" if $wrong ne '';
        my $body = '';
        my $none = $status == 204 || $status == 304 || ($head && ($in eq '' || $in =~ m{\AHTTP/1\.1 }));
        if (!$none && $h{'transfer-encoding'}) {
            while (1) {
                $in =~ s/\A([0-9a-f]+)\r\n// or return "$status: a bad chunk";
                my $n = hex $1;
                $body .= substr $in, 0, $n, '';
                $in =~ s/\A\r\n// or return "$status: a bad end of a chunk";
                last if !$n;
            }
        }
        elsif (!$none) {
            my $n = $h{'content-length'}[0] // return "$status: no length";
            length $in >= $n or return "$status: " . length($in) . " bytes of $n";
            $body = substr $in, 0, $n, '';
        }
        $wrong = $none ? '' : $self->_body($status, $h{'content-type'}[0] // '', $body);
        return "$status: $wrong: " . substr($body, 0, 300) if $wrong ne '';
        push @answers, { status => $status, h => \%h };
    }
    return 'no answer' if !@answers && $q->{whole};
    if ($q->{framing} eq 'both' && @answers) {
        return 'a smuggled request was answered' if @answers > 1;
        return "two framings at once are $answers[0]{status}" if $answers[0]{status} < 400;
    }
    return 'an answer too many' if $q->{whole} && @answers > 1 + $probed;
    return '';
}

sub _head ($self, $status, $h) {
    return 'it is not documented' unless $status =~ /^(?:20[0124]|304|4\d\d|50[1345])$/;
    return 'a header that the request made' if grep { /^x-injected|^set-cookie/ } keys %$h;
    return 'X-Request-Id' unless ($h->{'x-request-id'}[0] // '') =~ /^[0-9a-f]{32}$/ && $h->{'x-request-id'}->@* == 1;
    return "Content-Type $h->{'content-type'}[0]" if $h->{'content-type'} && $h->{'content-type'}[0] !~ $type;
    return 'Allow is missing' if $status == 405 && !$h->{allow};
    return 'WWW-Authenticate is missing' if $status == 401 && !$h->{'www-authenticate'};
    for my $k (qw(content-type content-length etag location)) {
        return "$k twice" if $h->{$k} && $h->{$k}->@* > 1;
    }
    return '';
}

sub _body ($self, $status, $is, $body) {
    return $status == 200 ? '' : 'text' if $is =~ m{^text/plain};
    my $json = eval { json_decode($body) };
    return 'not JSON' unless ref $json eq 'HASH';
    return '' if $status < 400;
    return "not a problem but $is" if $is ne 'application/problem+json';
    return 'a problem without its members' unless ($json->{type} // '') =~ /^urn:aegis:problem:([a-z-]+)$/ && ($json->{status} // 0) == $status
        && length($json->{detail} // '') && ($json->{instance} // '') =~ /^urn:aegis:request:[0-9a-f]{32}$/;
    my $name = ($json->{type} =~ /([a-z-]+)$/)[0];
    return "the problem $name" if $status == 500 || ($status == 503 && $name !~ /^(?:busy|overloaded)$/) || $status == 504;
    return '';
}

1;
