# 66example.t: what we ship for users to start from: the example front door with
# its marked places filled in, and the configuration in docs/nginx.md. nginx takes
# them, and requests through them do what they say: TLS, HTTP/2, problem
# documents, limits, the fence around /metrics, the access log.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Http;
use Aegis::Nginx;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $run = $stack->run_dir;

# A whole configuration for this machine: every path and port that is somebody
# else's is replaced, and each replacement must find its place.
sub localised ($ngx, $text, %drop) {
    my @change = (
        [qr{^load_module modules/}m,                  "load_module $run/modules/"],
        [qr{^user www-data;\n}m,                      ''],
        [qr{^pid /run/nginx\.pid;}m,                  'pid @DIR@/nginx.pid;'],
        [qr{^error_log /var/log/nginx/error\.log}m,   'error_log @DIR@/log/error.log'],
        [qr{/var/log/nginx/},                         '@DIR@/log/'],
        [qr{/etc/aegis/aegis_(?=gateway|ingest|log)},        "$run/conf/aegis_"],
        [qr{/etc/aegis/keys\b},                       "$run/nginx/aegis_keys"],
        [qr{/etc/aegis/cursor\.secret\b},             "$run/nginx/cursor_secret"],
        [qr{/usr/share/aegis/openapi\.json},          "$run/conf/openapi.json"],
        [qr{"host=/run/postgresql [^"]*"},            '"@DB@"'],
        [qr{/etc/ssl/certs/aegis\.pem},               "$run/tls/server.pem"],
        [qr{/etc/ssl/private/aegis\.key},             "$run/tls/server.key"],
        [qr{^\s*listen \[::\]:.*\n}m,                 ''],
        [qr{listen 443\b},                            'listen 127.0.0.1:@P1@'],
        [qr{listen 80\b},                             'listen 127.0.0.1:@P2@'],
        [qr{allow 127\.0\.0\.1;},                     'allow 127.0.0.2;'],
        [qr{server_name aegis\.example;},             'server_name localhost;'],
        [qr{^http \{\n}m, "http {\n" . join '', map { "    $_ \@DIR\@/tmp;\n" } qw(client_body_temp_path proxy_temp_path fastcgi_temp_path
            uwsgi_temp_path scgi_temp_path)],
    );
    for my $c (@change) {
        my $n = $text =~ s/$c->[0]/$c->[1]/g;
        ok($n, "it has $c->[0]") unless $drop{any};
    }
    return $ngx->fill($text);
}

sub started ($ngx, $text) {
    is(my $rc = $ngx->check($text)->{rc}, 0, 'nginx takes it') or return diag($ngx->check($text)->{err});
    no warnings 'redefine';
    local *Aegis::Nginx::text = sub ($self, @) { $text };
    $ngx->start;
    return wait_for('it to be ready', 20, sub { $ngx->http(1, scheme => 'https')->get('/readyz')->status == 200 });
}

subtest 'deploy/conf/nginx.example.conf' => sub {
    my $ngx = Aegis::Nginx->new(stack => $stack, name => 'example', http => '');
    my $text = slurp(root . '/deploy/conf/nginx.example.conf');
    cmp_ok(scalar(() = $text =~ /# <-/g), '>=', 4, 'what is to be adapted is marked');
    ok(started($ngx, localised($ngx, $text)), 'with its places filled in it serves') or return;
    my $http = $ngx->http(1, scheme => 'https');
    my $r = $http->write('POST', '/case/create', { title => 'by the example', mode => 'manual' });
    is($r->status, 201, 'a case is made over TLS');
    like($r->header('strict-transport-security') // '', qr/max-age=\d+/, 'with a transport policy');
    is($r->header('x-content-type-options'), 'nosniff', 'and no sniffing');
    my $id = $r->json->{case_id};
    my @curl = ('curl', '-sS', '-m', 10, '--cacert', $stack->e('AEGIS_CA'), '-o', '/dev/null', '-w', '%{http_version} %{http_code} %{content_type}');
    is(run([@curl, '--http2', '-H', 'Authorization: Bearer ' . $stack->token, 'https://127.0.0.1:' . $ngx->port(1) . "/case/$id"])->{out}, '2 200 application/json', 'HTTP/2 reads it');
    is(run([@curl, '--http2', 'https://127.0.0.1:' . $ngx->port(1) . "/case/$id"])->{out}, '2 401 application/problem+json', 'for who has a key');
    $r = $ngx->http(2)->get("/case/$id?x=1");
    is($r->status, 308, 'plain HTTP is sent to TLS');
    like($r->header('location'), qr{^https:.*[^/]/case/\Q$id\E\?x=1$}, 'with its path');
    $r = $http->get('/metrics');
    is($r->status, 403, '/metrics is fenced');
    is($r->problem, 'forbidden', 'by a problem document');
    my %status;
    $status{ $_->status }++ for $http->crowd([ map { { method => 'GET', path => '/healthz' } } 1 .. 1200 ], connections => 16);
    ok($status{200} && $status{200} >= 400, 'a burst of requests is let through');
    diag(join ', ', map { "$status{$_} x $_" } sort keys %status) if keys %status > 2;
    is_deeply([ grep { !/^(200|429)$/ } keys %status ], [], 'what is too much of it is 429 and nothing else');
    my $line = wait_for('the access log', 10, sub { (grep { ($_->{request} // '') =~ m{^POST /case/create } } $ngx->log_lines('aegis.log'))[0] });
    is_deeply([ @$line{qw(status case_id principal tenant idempotency)} ], [ 201, $id, 'quickstart', 'default', 'new' ], 'the access log tells of it in JSON');
    # a JSON number, whose last zeros its reader drops
    like($line->{seconds}, qr/^\d+(?:\.\d{1,3})?$/, 'with seconds');
    like($line->{$_}, qr/^\d+\.\d{3}$/, "with $_") for qw(queue_seconds db_seconds);
    like($line->{$_}, qr/^[0-9a-f]{32}$/, "and $_") for qw(request_id trace_id);
    my $log = slurp($ngx->dir . '/log/aegis.log') . slurp($ngx->dir . '/log/error.log');
    ok(index($log, $stack->token) < 0, 'the key itself is in no log');
    $ngx->finish;
};

subtest 'docs/nginx.md' => sub {
    my $ngx = Aegis::Nginx->new(stack => $stack, name => 'synopsis', http => '');
    my ($text) = slurp(root . '/docs/nginx.md') =~ /^## Synopsis\n+```nginx\n(.*?)^```/ms;
    $text = "worker_processes 1;\npid \@DIR\@/nginx.pid;\nerror_log \@DIR\@/log/error.log notice;\n$text";
    ok(started($ngx, localised($ngx, $text, any => 1)), 'its synopsis serves') or return;
    is($ngx->http(1, scheme => 'https')->write('POST', '/case/create', { title => 'by the book', mode => 'manual' })->status, 201, 'and makes a case');
    $ngx->finish;
};

# Every example of the manual is one that nginx takes, inside of what it belongs to.
subtest 'the manual\'s examples' => sub {
    my $ngx = Aegis::Nginx->new(stack => $stack, name => 'manual', http => '');
    for my $f (files_of(qr{^docs/(?:directives/.*|variables|metrics)\.md$})) {
        my $n = 0;
        for my $example (slurp(root . "/$f") =~ /^```nginx\n(.*?)^```/msg) {
            my %done;
            my @line = grep { my ($name) = /^(aegis_\w+)/; !$name || !$done{$name}++ } split /^(?=[^\s}])/m, $example;
            my $at_server = join '', grep { /^(?:location|error_page|aegis_(?!zone|cert|jw))/ } @line;
            my $at_http = join '', grep { !/^(?:location|error_page|aegis_(?!zone|cert|jw))/ } @line;
            my $text = $ngx->text("aegis_database \"\@DB\@\"; aegis_keys $run/nginx/aegis_keys; upstream grafana { server 127.0.0.1:1; }\n$at_http"
                . "server { listen 127.0.0.1:\@P1\@;\n$at_server }\n") =~ s{/etc/aegis/aegis_}{$run/conf/aegis_}gr
                =~ s{/etc/aegis/cursor\.secret}{$run/nginx/cursor_secret}gr =~ s{/var/log/nginx}{$ngx->{dir}/log}gr
                =~ s{/etc/aegis/certs\b}{/dev/null}gr =~ s{/etc/aegis/clients-ca\.pem}{$run/tls/ca.pem}gr;
            my $r = $ngx->check($text);
            is($r->{rc}, 0, "$f, example " . ++$n . ': nginx takes it') or diag($text . $r->{err});
        }
    }
};

$stack->finish(no_openapi => 1);
done_testing;
