# 54tls.t: between hosts everything can be TLS: PostgreSQL knows a worker by its
# certificate, NATS by its credentials, and a worker believes neither of them
# without a certificate of the right CA. Kafka's settings reach librdkafka, and
# what is wrong with them is said by --check and doctor.
use v5.36;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use Aegis::Http;
use Aegis::Nkeys;
use Aegis::Pg;
use Aegis::Stack;
use Aegis::Test;
use Aegis::Tls;

if (my $why = Aegis::Stack->available) { plan skip_all => $why }

my $dir = scratch('tls');
my $ours = Aegis::Tls->new("$dir/ours");
my $theirs = Aegis::Tls->new("$dir/theirs", 'Somebody else');
my $server = $ours->cert('server', san => 'IP:127.0.0.1,DNS:localhost', owner => 'postgres');
my $client = $ours->cert('aegis_worker');
my $stranger = $ours->cert('stranger');
my ($db_port, $nats_port, $kafka_port) = map { free_port() } 1 .. 3;

spew("$dir/hba", "local all all trust\nhostssl aegis aegis_worker 127.0.0.1/32 cert\n");
my $pg = Aegis::Pg->new(conf => "listen_addresses = '127.0.0.1'\nport = $db_port\nssl = on\nssl_ca_file = '@{[ $ours->ca ]}'\n"
    . "ssl_cert_file = '$server.pem'\nssl_key_file = '$server.key'\nhba_file = '$dir/hba'\n", port => $db_port);
$pg->load_schema;

my $nkeys = Aegis::Nkeys->installation($dir);
my $nats_cert = $ours->cert('nats', san => 'IP:127.0.0.1,DNS:localhost');
spew("$dir/nats.conf", "listen: \"127.0.0.1:$nats_port\"\njetstream { store_dir: \"$dir/store\" }\n"
    . "tls { cert_file: \"$nats_cert.pem\", key_file: \"$nats_cert.key\", ca_file: \"@{[ $ours->ca ]}\" }\n$nkeys->{conf}");
my $nats = start_process('nats', ['nats-server', '-c', "$dir/nats.conf"]);
wait_for('nats-server', 20, sub { slurp($nats->{log}) =~ /Server is ready/ }) or diag(slurp($nats->{log}));

my $conf = root . '/conf/aegis.yaml';
sub url (%over) {
    my %u = (host => '127.0.0.1', port => $db_port, dbname => 'aegis', user => 'aegis_worker', sslmode => 'verify-full', sslrootcert => $ours->ca,
        sslcert => "$client.pem", sslkey => "$client.key", %over);
    return join ' ', map { "$_=$u{$_}" } sort keys %u;
}

# The relay with these settings: up => [database, bus] when it is well, else its log.
sub relay ($what, %env) {
    my $port = free_port();
    my $p = start_process("relay-$what", [build_dir . '/aegis-worker', '-c', $conf, 'relay'], env => { AEGIS_METRICS_LISTEN => "127.0.0.1:$port",
        AEGIS_DATABASE_URL => url(), AEGIS_BUS_NATS_URL => "nats://127.0.0.1:$nats_port", AEGIS_BUS_NATS_CA_FILE => $ours->ca,
        AEGIS_BUS_NATS_CREDS_FILE => $nkeys->{creds}, %env, san_env });
    my $http = Aegis::Http->new(url => "http://127.0.0.1:$port");
    return { p => $p, metrics => sub { $http->get('/metrics')->body }, log => sub { slurp($p->{log}) } };
}

subtest 'a worker with certificate and credentials' => sub {
    my $r = relay('good');
    ok(wait_for('the relay to work', 30, sub { my $m = $r->{metrics}->(); $m =~ /^aegis_db_up\S* 1$/m && $m =~ /^aegis_bus_up\S* 1$/m && $m =~ /^aegis_relay_partitions 16$/m }),
        'comes in at both') or diag($r->{log}->(), slurp($nats->{log}));
    is($pg->one(q{SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'aegis_worker' AND s.ssl AND s.client_dn = '/CN=aegis_worker'}) > 0, 1,
        'PostgreSQL knows it by its certificate');
    stop_process($r->{p});
};

subtest 'and without' => sub {
    for my $c (
        ['a certificate of somebody else', { AEGIS_DATABASE_URL => url(sslcert => "$stranger.pem", sslkey => "$stranger.key") }, qr/certificate authentication failed/],
        ['a database of another CA', { AEGIS_DATABASE_URL => url(sslrootcert => $theirs->ca) }, qr/certificate verify failed/],
        ['a database of another name', { AEGIS_DATABASE_URL => url(host => 'db.example', hostaddr => '127.0.0.1') }, qr/does not match host name/],
        ['a bus of another CA', { AEGIS_BUS_NATS_CA_FILE => $theirs->ca }, qr/nats: connect: /],
        ['no credentials for the bus', { AEGIS_BUS_NATS_CREDS_FILE => '' }, qr/nats: connect: /],
        ['a bus without TLS', { AEGIS_BUS_NATS_CA_FILE => '' }, qr/nats: connect: /],
    ) {
        my ($what, $env, $says) = @$c;
        my $r = relay($what =~ tr/ /-/r, %$env);
        ok(wait_for('it to say so', 30, sub { $r->{log}->() =~ $says }), "$what: refused, and said") or diag($r->{log}->());
        my $part = $what =~ /bus/ ? 'bus' : 'db';
        ok(wait_for('it to show', 30, sub { $r->{metrics}->() =~ /^aegis_${part}_up\S* 0$/m }), "$what: and shown") or diag($r->{metrics}->());
        stop_process($r->{p});
    }
};

subtest 'Kafka' => sub {
    my $s = $ours->cert('kafka', san => 'IP:127.0.0.1');
    my $k = start_process('kafka', ['openssl', 's_server', '-accept', "127.0.0.1:$kafka_port", '-cert', "$s.pem", '-key', "$s.key", '-CAfile', $ours->ca, '-Verify', 1, '-state', '-quiet']);
    my $yaml = slurp($conf) =~ s/match: "evt\.>"\n      transport: nats/match: "evt.>"\n      transport: kafka/r =~ s/brokers: ""/brokers: "127.0.0.1:$kafka_port"/r;
    my $with = sub (%set) {
        my ($before, $y) = $yaml =~ /\A(.*?\n  kafka:\n)(.*)\z/s;
        for my $name (keys %set) { $y =~ s/^(    \Q$name\E:) .*/$1 "$set{$name}"/m or die $name }
        my $file = spew("$dir/kafka.yaml", $before . $y);
        spew("$dir/policy.yaml", slurp(root . '/conf/policy.yaml'));
        return run([build_dir . '/aegisctl', 'doctor', '-c', $file, '-o', 'json'], env => { san_env }, timeout => 40);
    };
    $with->(protocol => 'ssl', ca_file => $ours->ca, cert_file => "$client.pem", key_file => "$client.key");
    ok(wait_for('a handshake', 20, sub { slurp($k->{log}) =~ /CN ?= ?aegis_worker/ && slurp($k->{log}) !~ /fatal/i }), 'TLS with our certificate') or diag(slurp($k->{log}));
    $with->(protocol => 'ssl', ca_file => $theirs->ca, cert_file => "$client.pem", key_file => "$client.key");
    ok(wait_for('a refusal', 20, sub { slurp($k->{log}) =~ /unknown ca/i }), 'a broker of another CA is refused') or diag(slurp($k->{log}));
    my $r = $with->(protocol => 'sasl_ssl', ca_file => $ours->ca, credentials_file => "$dir/no-such-file");
    like($r->{out}, qr/credentials_file: \S+ has no line <user>:<password>/, 'SASL without credentials is said');
    spew("$dir/kafka-credentials", "me:a-secret-of-mine\n");
    $r = $with->(protocol => 'sasl_ssl', ca_file => "$dir/no-ca.pem", credentials_file => "$dir/kafka-credentials");
    like($r->{out}, qr/kafka.*ssl\.ca\.location|no-ca\.pem/s, 'a CA that is not there too');
    unlike($r->{out} . $r->{err}, qr/a-secret-of-mine/, 'the password is in no message');
    spew("$dir/bad.yaml", $yaml =~ s/protocol: plaintext/protocol: tls/r);
    $r = run([build_dir . '/aegis-worker', '-c', "$dir/bad.yaml", '--check', 'relay'], env => { san_env });
    like($r->{err} . $r->{out}, qr/bus\.kafka\.protocol.*plaintext, ssl, sasl_plaintext or sasl_ssl/s, 'another protocol does not pass --check');
};

done_testing;
