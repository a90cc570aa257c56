# 44http.t: the action http.call: whom it may call and at which addresses (every
# way to write a private one, names that change their mind, redirects), what it
# sends, and what it makes of answers that do not come. Signed calls are checked
# by the words of Standard Webhooks. The executor here is one of our own, whose
# names are looked up in a table of this suite.
use v5.36;
use lib 't/lib';
use Digest::SHA qw(hmac_sha256);
use Encode ();
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64;
use POSIX ();
use Test::More;
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $dir = scratch('http');

# --- a server that writes down what it is asked
my $port = free_port();
my $seen = spew("$dir/seen", '');
chmod 0666, $seen;
my $server = fork // die "fork: $!";
if (!$server) {
    setpgrp 0, 0;
    $SIG{CHLD} = 'IGNORE';
    my $l = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 64, ReuseAddr => 1) or POSIX::_exit(1);
    while (1) {
        my $c = $l->accept or next;
        next if fork;
        my ($head, $body) = ('', '');
        while ($head !~ /\r\n\r\n/) { sysread($c, $head, 4096, length $head) or POSIX::_exit(0) }
        ($head, $body) = split /\r\n\r\n/, $head, 2;
        my ($len) = $head =~ /^content-length: (\d+)/mi;
        while (length $body < ($len // 0)) { sysread($c, $body, 65536, length $body) or last }
        open my $f, '>>', $seen;
        print $f json_encode({ head => $head, body => $body }), "\n";
        close $f;
        my ($path) = $head =~ m{^\S+ (\S+)};
        my $say = sub ($status, $text, @more) { print $c join "\r\n", "HTTP/1.1 $status x", 'Content-Length: ' . length $text, 'Connection: close', @more, '', $text };
        if ($path =~ m{^/status/(\d+)}) { $say->($1, "status $1\n") }
        elsif ($path =~ m{^/redirect/(\d+)}) { $say->($1, '', "Location: http://127.0.0.1:$port/secret") }
        elsif ($path =~ m{^/slow}) { select undef, undef, undef, 60 }
        elsif ($path =~ m{^/big}) { print $c "HTTP/1.1 200 x\r\n\r\n"; print $c 'x' x 65536 while getppid > 1 && $c->connected }
        elsif ($path =~ m{^/drop}) { }
        else { $say->(200, "hello\n") }
        POSIX::_exit(0);
    }
}
END { my $rc = $?; kill 'KILL', -$server if $server; $? = $rc }

# --- names: each look-up takes the next line of its list, and is counted
my %names = ('hook.test' => ['127.0.0.1'], 'metadata.test' => ['169.254.169.254'], 'ten.test' => ['10.1.2.3'],
    'rebind.test' => ['192.0.0.9', '127.0.0.1'], 'both.test' => ['0.0.0.0 127.0.0.1'], 'six.test' => ['::ffff:127.0.0.1'],
    'nat64.test' => ['64:ff9b::7f00:1'], 'local6.test' => ['::1'], 'loop.test' => ['127.8.8.8']);
mkdir "$dir/names";
chmod 0777, "$dir/names";
spew("$dir/names/$_", join "\n", @{ $names{$_} }, '') for keys %names;
spew("$dir/shim.c", <<"END");
/* getaddrinfo out of files: <names>/<host>, one answer a line */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
int getaddrinfo(const char *h, const char *s, const struct addrinfo *hints, struct addrinfo **res) {
    static int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    char path[512], line[256], last[256] = "", *w, *save; int n = 0, count = 0, rc; FILE *f; struct addrinfo *a, **end = res;
    if (!next) next = dlsym(RTLD_NEXT, "getaddrinfo");
    snprintf(path, sizeof(path), "$dir/names/%s", h ? h : "");
    if (!h || !strstr(h, ".test") || !(f = fopen(path, "r"))) return next(h, s, hints, res);
    snprintf(path, sizeof(path), "$dir/names/%s.count", h);
    FILE *c = fopen(path, "a+"); while (fgetc(c) != EOF) count++; fputc('x', c); fclose(c);
    while (n <= count && fgets(line, sizeof(line), f)) { strcpy(last, line); n++; }
    fclose(f); *res = NULL;
    for (w = strtok_r(last, " \\n", &save); w; w = strtok_r(NULL, " \\n", &save)) {
        struct addrinfo hi = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
        if ((rc = next(w, s, &hi, &a)) != 0) return rc;
        for (*end = a; *end; end = &(*end)->ai_next) { }
    }
    return *res ? 0 : EAI_NONAME;
}
END
run_ok(['cc', '-shared', '-fPIC', '-o', "$dir/shim.so", "$dir/shim.c", '-ldl']);

my @secret = map { pack 'H*', $_ x 24 } qw(a1 7f);
spew("$dir/secrets", join '', map { 'whsec_' . encode_base64($_, '') . "\n" } @secret);
my $sleeper = $stack->pid('exec');
kill 'STOP', $sleeper;
END { my $rc = $?; kill 'CONT', $sleeper if $sleeper; $? = $rc }

my $undo = $stack->policy("version: 1\nvalid_s: 600\nrules:\n  - {id: calls, kind: actions, allow: [echo, http.call]}\n");

my $exec;
sub executor (%set) {
    stop_process($exec) if $exec;
    $exec = start_process('http-exec', [build_dir . '/aegis-worker', '-c', $stack->run_dir . '/conf/aegis.yaml', 'exec'],
        env => { LD_PRELOAD => join(' ', (is_san ? run_ok(['gcc', '-print-file-name=libasan.so']) =~ s/\s+//gr : ()), "$dir/shim.so"), san_env,
            AEGIS_METRICS_LISTEN => '127.0.0.1:' . free_port(), HTTPS_PROXY => "http://127.0.0.1:$port", http_proxy => "http://127.0.0.1:$port",
            AEGIS_HTTP_ALLOW => join(" ", "*", map +("$_*", "$_*:$port"), "http:" . "//", "https:" . "//"), AEGIS_HTTP_SECRET_FILE => "$dir/secrets", %set });
}

sub call (%params) {
    my $more = delete $params{-step} // {};
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('EXECUTING',
        plan => { steps => [{ name => 'call', action => 'http.call', params => \%params, %$more }] });
    my $id = $c->post('/adapter/exec')->json->{exec_id};
    my $run = wait_for('the run to end', 40, sub { my $r = $http->get("/exec/$id")->json; $r->{finished_at} ? $r : undef }) // die "the run does not end\n";
    my @s = grep { $_->{phase} eq 'step' } @{ $run->{steps} };
    return wantarray ? ($s[0], $run) : $s[0];
}
# What a dry run says of each of these parameters, by the URL or else the headers: one
# run for all of them, where real ones would stop at the first that is refused.
sub checks (@params) {
    my %how;
    while (my @part = splice @params, 0, 30) {
        my $c = Aegis::Case->create($http, mode => 'manual')->drive('PLANNING');
        $c->plan(steps => [map { +{ action => 'http.call', params => $_ } } @part]);
        my $id = $c->post('/adapter/exec', dry_run => JSON::PP::true())->json->{exec_id};
        my $run = wait_for('the checks', 60, sub { my $r = $http->get("/exec/$id")->json; $r->{finished_at} ? $r : undef }) // die "the run does not end\n";
        for my $s (grep { $_->{step_no} <= @part } @{ $run->{steps} }) {
            my $p = $part[ $s->{step_no} - 1 ];
            $how{ $p->{headers} ? json_encode($p->{headers}) : $p->{url} } = "$s->{state} $s->{error}";
        }
    }
    return %how;
}
sub seen () { return map { json_decode($_) } grep { length } split /\n/, slurp($seen) }
sub forget () { spew($seen, '') }

subtest 'private addresses, however they are written' => sub {
    executor();
    my @url = map { "http://$_:$port/secret" } qw(127.0.0.1 2130706433 017700000001 0x7f000001 0x7f.1 127.1 0177.0.0.1 0x7f.0x0.0x0.0x1
        0 0.0.0.0 localhost LOCALHOST a.localhost [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:127.0.0.1] [::127.0.0.1]
        [64:ff9b::127.0.0.1] [2002:7f00:1::] hook.test six.test nat64.test local6.test loop.test both.test 127.0.0.1. %31%32%37.0.0.1),
        "127\x{3002}0\x{3002}0\x{3002}1", "\x{2460}\x{2461}\x{2466}.\x{24ea}.\x{24ea}.\x{2460}", "\x{ff11}27.0.0.1", '[::ffff:127.0.0.1%25lo]';
    push @url, map { "http://$_/latest/meta-data/" } qw(169.254.169.254 2852039166 0xa9fea9fe 0251.0376.0251.0376 [::ffff:169.254.169.254]
        [fd00:ec2::254] metadata.test 100.100.100.200);
    push @url, map { "http://$_/" } qw(10.0.0.1 ten.test 172.16.0.1 192.168.1.1 192.0.0.192 198.18.0.1 224.0.0.1 255.255.255.255 [fe80::1] [fc00::1] [ff02::1]);
    my %how = checks(map { +{ url => $_ } } @url);
    my %bad = map { $_ => $how{$_} } grep { $how{$_} !~ /^FAILED .*(?:is a [\w-]+ address: not called|not a URL|has a character|does not allow|Could not resolve host)/ } keys %how;
    cmp_ok(scalar keys %how, '>=', 45, scalar(keys %how) . ' of them');
    is_deeply(\%bad, {}, 'none is connected to');
    cmp_ok(scalar(grep { /is a [\w-]+ address/ } values %how), '>=', 40, 'most of them because of the address');
    my ($s) = call(url => "http://127.0.0.1:$port/secret", method => 'POST');
    like($s->{error}, qr/127\.0\.0\.1 is a loopback address: not called/, 'nor by a real call: ' . $s->{error});
    is_deeply([seen()], [], 'the server has seen nothing');
};

subtest 'a name that changes its mind' => sub {
    for (1 .. 4) {
        unlink "$dir/names/rebind.test.count" if $_ % 2;
        my ($s, $run) = call(url => "http://rebind.test:$port/secret", -step => { timeout_s => 3, retry => { max => 2, backoff_ms => 1 } });
        like($s->{state}, qr/^(?:FAILED|TIMEOUT)$/, "it is not called: $s->{error}");
    }
    unlink "$dir/names/hook.test.count";
    call(url => "http://hook.test:$port/secret");
    is(length slurp("$dir/names/hook.test.count"), 1, 'one call looks a name up once');
    is_deeply([seen()], [], 'the server has seen nothing');
};

subtest 'only whom the list allows' => sub {
    executor(AEGIS_HTTP_ALLOW => "http://hook.test:$port https://api.example.com *.hooks.example.com", AEGIS_HTTP_ALLOW_PRIVATE => '127.0.0.1');
    my %how = checks(map { +{ url => $_ } } "http://127.0.0.1:$port/", "http://hook.test/", "https://hook.test:$port/", "http://api.example.com/", 'https://api.example.com:8443/',
        'https://hooks.example.com/', 'https://evilhooks.example.com/', 'https://api.example.com.evil.test/', "http://user:pw\@hook.test:$port/",
        "http://hook.test:$port\@127.0.0.1:$port/", "http://hook.test:$port\\\@127.0.0.1/", 'file:///etc/passwd', 'gopher://hook.test/', 'ftp://hook.test/', 'hook.test', "http://hook.test:$port\@evil/");
    cmp_ok(scalar keys %how, '>=', 15, scalar(keys %how) . ' that it does not allow');
    is_deeply([ grep { $how{$_} !~ /^FAILED .*(?:does not allow|not a URL|has a character)/ } sort keys %how ], [], 'are not called');
    is_deeply([seen()], [], 'the server has seen nothing');
    my $s = call(url => "http://hook.test:$port/there");
    is($s->{state}, 'OK', 'what is allowed, by name and by range, is') or diag($s->{error});
    is($s->{output}{stdout}{tail}, "hello\n", 'its answer is the output');
    is_deeply($s->{result}, { status => 200, address => '127.0.0.1' }, 'and its status the result');
    is($s->{target}, "http:hook.test:$port", 'its target is the host');
};

subtest 'what is sent' => sub {
    forget();
    my ($s, $run) = call(url => "http://hook.test:$port/hook?x=1", method => 'POST', json => { b => [1, "\x{fc}"], a => 'x' },
        headers => { 'X-Mine' => 'a b', Authorization => 'Bearer t' }, sign => JSON::PP::true());
    is($s->{state}, 'OK', 'a signed call') or diag($s->{error});
    my ($r) = seen();
    my %h = map { lc($_->[0]) => $_->[1] } map { [split /: /, $_, 2] } split /\r\n/, $r->{head};
    like($r->{head}, qr{^POST /hook\?x=1 HTTP/1\.1\r\n}, 'with its method and path');
    is($h{'x-mine'}, 'a b', 'its headers');
    is($h{'content-type'}, 'application/json', 'its type');
    is($h{'webhook-id'}, "msg_$run->{exec_id}_step_1", 'an id that stays the same when it is tried again');
    cmp_ok(abs($h{'webhook-timestamp'} - time), '<', 300, 'the time');
    my @want = map { 'v1,' . encode_base64(hmac_sha256("$h{'webhook-id'}.$h{'webhook-timestamp'}." . Encode::encode('UTF-8', $r->{body}), $_), '') } @secret;
    my @other = map { 'v1,' . encode_base64(hmac_sha256("$h{'webhook-id'}.$h{'webhook-timestamp'}.$r->{body}", $_), '') } @secret;
    ok($h{'webhook-signature'} eq "@want" || $h{'webhook-signature'} eq "@other", 'and a signature by each secret') or diag($h{'webhook-signature'});
    my %how = checks(map { +{ url => "http://hook.test:$port/hook", headers => $_ } } { Host => 'x' }, { 'Content-Length' => '0' }, { 'Transfer-Encoding' => 'chunked' }, { 'X-A' => "b\nHost: evil" }, { "X\nHost" => 'evil' },
        { 'webhook-id' => 'mine' }, { 'Proxy-Authorization' => 'x' }, { '' => 'x' });
    is(scalar keys %how, 8, 'headers that frame a request, name its host or are the signature');
    is_deeply([ grep { $how{$_} !~ /^FAILED .*cannot be sent/s } sort keys %how ], [], 'are not sent');
};

subtest 'answers' => sub {
    forget();
    my $s;
    for my $status (301, 302, 303, 307, 308) {
        $s = call(url => "http://hook.test:$port/redirect/$status");
        is($s->{state}, 'FAILED', "a redirect of $status is not followed");
        like($s->{error}, qr{answered $status: redirects to \S+/secret, which is not followed}, $s->{error});
    }
    is((grep { $_->{head} =~ /secret/ } seen()), 0, 'and nobody is there');
    ($s, my $run) = call(url => "http://hook.test:$port/status/404", -step => { retry => { max => 3, backoff_ms => 1 } });
    is(scalar(grep { $_->{phase} eq 'step' } @{ $run->{steps} }), 1, 'a 404 is final');
    ($s, $run) = call(url => "http://hook.test:$port/status/503", -step => { retry => { max => 2, backoff_ms => 1 } });
    is(scalar(grep { $_->{phase} eq 'step' } @{ $run->{steps} }), 3, 'a 503 is tried again');
    is(call(url => "http://hook.test:$port/status/404", expect => 404)->{state}, 'OK', 'unless it is what is expected');
    $s = call(url => "http://hook.test:$port/big");
    is($s->{state}, 'OK', 'an answer without end is read to the limit');
    cmp_ok($s->{output}{stdout}{bytes}, '<', 1048576 + 100, 'and no further');
    ($s, $run) = call(url => "http://hook.test:$port/slow", -step => { timeout_s => 1 });
    is($s->{state}, 'TIMEOUT', 'a GET that is not answered has timed out');
    ($s, $run) = call(url => "http://hook.test:$port/slow", method => 'POST', body => 'pay', -step => { timeout_s => 1 });
    is($s->{state}, 'UNKNOWN', 'a POST that is not answered may have been heard');
    like($run->{reason}, qr/^outcome of step 1 unknown: .*not rolled back/, $run->{reason});
    ($s, $run) = call(url => "http://hook.test:$port/drop", method => 'POST', body => 'pay');
    is($s->{state}, 'UNKNOWN', 'the same when the connection breaks');
    $s = call(url => "http://hook.test:$port/drop", method => 'POST', body => 'pay', -step => { retry_safe => JSON::PP::true() });
    is($s->{state}, 'UNKNOWN', 'retry_safe: unknown');
};

subtest 'settings that do not fit' => sub {
    for my $bad ([AEGIS_HTTP_ALLOW => 'ftp://x', qr/http\.allow/], [AEGIS_HTTP_ALLOW_PRIVATE => '10.0.0.0/33', qr/http\.allow_private/], [AEGIS_HTTP_SECRET_FILE => "$dir/none", qr/http\.secret_file/]) {
        executor($bad->[0] => $bad->[1]);
        ok(wait_for('the executor to say so', 15, sub { slurp($exec->{log}) =~ $bad->[2] }), "$bad->[0]=$bad->[1] is refused");
    }
    my $all = slurp($exec->{log});
    is((grep { index($all, encode_base64($_, '')) >= 0 } @secret), 0, 'no secret is logged');
    stop_process($exec);
};

kill 'CONT', $sleeper;
$undo->();
$stack->finish;
done_testing;
