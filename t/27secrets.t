# 27secrets.t: planted secrets are looked for in everything that goes out: logs
# at the levels that we ship, command lines, nginx -T, metrics, problem documents,
# timeline, outbox and stored answers. The secrets are those of the installation,
# and words that a client puts where no secret belongs.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->own('secrets');
my ($http, $run, $pg) = ($stack->http, $stack->run_dir, $stack->pg);
my %secret;
$secret{"secrets/$_"} = slurp("$run/secrets/$_") =~ s/\s+\z//r for map { s{.*/}{}r } glob "$run/secrets/*";
$secret{"the key of $_"} = $stack->token($_) for qw(second alice reader);
my $n = 0;
sub plant ($what) { return $secret{$what} = sprintf 'canary%02d-%s', $n++, Aegis::Test::random_hex(12) }

# --- refusals and errors, each with a canary in it
my (@bodies, $c);
$c = Aegis::Case->create($http, mode => 'manual');
my $path = '/case/' . $c->id;
my $send = sub ($from, @request) { my $r = eval { $from->(@request) }; push @bodies, [$r->status, $r->body, map { @$_ } @{ $r->{headers} }] if $r; return $r };
my $as = sub (@h) { $send->(sub { $http->with(token => undef)->get($path, headers => [@h]) }) };
is($as->(Authorization => 'Bearer ' . plant('an unknown key'))->status, 401, 'an unknown key is refused');
$as->(Authorization => plant('a scheme that is a key'));
$as->(Authorization => 'Basic ' . plant('Basic'));
$as->(Authorization => 'Bearer  ' . plant('a key with a blank') . ' x');
$as->(Authorization => 'Bearer ' . plant('doubled, the first'), Authorization => 'Bearer ' . plant('doubled, the second'));
$as->('X-Api-Key' => plant('another header'), Cookie => 'key=' . plant('a cookie'));
$as->(Authorization => 'Bearer aegis_quickstart_' . substr(plant('a wrong secret of a known id') . 'x' x 43, 0, 43));
$as->(Authorization => 'Bearer eyJhbGciOiJub25lIn0.' . plant('a JWT') . '.x');
$send->(sub { $http->get("$path?api_key=" . plant('a query')) });
$send->(sub { $http->get('/nowhere?access_token=' . plant('a query of a path that is not there')) });
$send->(sub { $http->request('DELETE', "$path?token=" . plant('a query of a method that is not there')) });
$send->(sub { $http->write('POST', '/case/create', '{"title":"' . plant('malformed JSON')) });
$send->(sub { $http->write('POST', '/case/create', { title => 'x', password => plant('an unknown field') }) });
$send->(sub { $http->write('POST', '/case/create', { title => 'x', severity => plant('a value that is none') }) });
$send->(sub { $http->write('PATCH', "$path/transition", { event => 'force_park', actor => plant('an actor') }) });
$send->(sub { $http->get('/case?cursor=' . plant('a cursor')) });
$send->(sub { $http->raw("GET $path?k=" . plant('a bad request line') . " HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer " . plant('a name with a blank') . "\r\n\r\n") });
$send->(sub { $http->raw("POST /case/create?k=" . plant('too large, in its query') . " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " . $stack->token
    . "\r\nContent-Type: application/json\r\nContent-Length: 9000000\r\n\r\n") });
$send->(sub { $http->raw("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " . plant('too large a header') . 'x' x 40000 . "\r\n\r\n") });
$c->must('start_analysis');
cmp_ok(scalar @bodies, '>=', 18, 'each was answered');

# --- what can be read afterwards
my %out;
$out{'/metrics'} = $stack->metrics('gateway');
$out{"metrics of $_"} = $stack->metrics($_) for $stack->roles;
$out{'answers'} = join "\n", map { join ' ', map { $_ // '' } @$_ } @bodies;
for my $t (qw(case_timeline outbox idempotency dead_letter ops_case)) {
    $out{"aegis.$t"} = $pg->one("SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM aegis.$t t");
}
$out{'nginx -T'} = do { my $r = $stack->nginx_t(slurp("$run/nginx/nginx.conf"), '-T'); $r->{out} . $r->{err} };
like($out{'nginx -T'}, qr/aegis_database_password_file/, 'nginx -T shows the configuration');
for my $dir (glob '/proc/[0-9]*') {
    my $cmd = eval { slurp("$dir/cmdline") } // next;
    $out{"argv of $dir"} = $cmd if index($cmd, $run) >= 0;
}
cmp_ok((scalar grep { /^argv/ } keys %out), '>=', 5, 'command lines of the processes');
$stack->nginx_reload;                   # old workers write out their logs before they end
for my $f (glob "$run/log/*") { $out{ 'log/' . $f =~ s{.*/}{}r } = slurp($f) }
ok(length($out{'log/nginx-access.log'}) && length($out{'log/nginx-audit.log'}), 'logs were written');

# a search that cannot find is none
ok((grep { index($_, $c->id) >= 0 } $out{'log/nginx-access.log'}) && index($out{'aegis.case_timeline'}, $c->id) >= 0, 'what is no secret is found');
for my $what (sort keys %secret) {
    my @where = grep { index($out{$_}, $secret{$what}) >= 0 } sort keys %out;
    is("@where", '', "$what is nowhere");
}
$stack->finish;
done_testing;
