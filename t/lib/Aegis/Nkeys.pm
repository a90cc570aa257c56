# Aegis::Nkeys: what a nats-server in operator mode asks of its users: nkeys and
# the JWTs that operator, account and user are, signed by openssl's Ed25519.
# Invariant: keys are made for one test and written into its folder alone.
package Aegis::Nkeys;

use v5.36;
use JSON::PP ();
use MIME::Base64 qw(encode_base64url);
use Aegis::Test;

my %kind = (operator => 14 << 3, account => 0, user => 20 << 3);

sub _base32 ($bytes) {
    my @a = ('A' .. 'Z', 2 .. 7);
    my $bits = unpack 'B*', $bytes;
    $bits .= '0' x (-length($bits) % 5);
    return join '', map { $a[ oct "0b$_" ] } $bits =~ /(.{5})/g;
}

sub _crc16 ($bytes) {
    my $crc = 0;
    for my $b (unpack 'C*', $bytes) {
        $crc ^= $b << 8;
        $crc = ($crc << 1 ^ ($crc & 0x8000 ? 0x1021 : 0)) & 0xffff for 1 .. 8;
    }
    return pack 'v', $crc;
}

sub _encode ($bytes) { return _base32($bytes . _crc16($bytes)) }

# A key pair: {kind, pem, public, seed}.
sub new ($class, $kind, $dir, $name = $kind) {
    my $pem = "$dir/$name.pem";
    run_ok(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', $pem]);
    my $raw = sub (@how) { substr run_ok(['openssl', 'pkey', '-in', $pem, '-outform', 'DER', @how]), -32 };
    my $k = $kind{$kind};
    return bless { kind => $kind, pem => $pem, dir => $dir, public => _encode(chr($k) . $raw->('-pubout')),
        seed => _encode(chr(18 << 3 | $k >> 5) . chr(($k & 31) << 3) . $raw->()) }, $class;
}

# A JWT about subject, signed by this key.
sub jwt ($self, $subject, $name, %nats) {
    my %claims = (jti => new_key('J'), iat => time, iss => $self->{public}, name => $name, sub => $subject->{public},
        nats => { type => $subject->{kind}, version => 2, %nats });
    my $text = join '.', map { encode_base64url(json_encode($_)) } { typ => 'JWT', alg => 'ed25519-nkey' }, \%claims;
    spew("$self->{dir}/to-sign", $text);
    return "$text." . encode_base64url(run_ok(['openssl', 'pkeyutl', '-sign', '-rawin', '-inkey', $self->{pem}, '-in', "$self->{dir}/to-sign"]));
}

# Operator, account and a user of it: the server's part of nats.conf, and the
# user's credentials file.
sub installation ($class, $dir) {
    my ($o, $a, $u) = map { $class->new($_, $dir) } qw(operator account user);
    spew("$dir/operator.jwt", $o->jwt($o, 'test'));
    my $unlimited = { subs => -1, conn => -1, leaf => -1, imports => -1, exports => -1, data => -1, payload => -1, wildcards => JSON::PP::true(),
        mem_storage => -1, disk_storage => -1, streams => -1, consumer => -1 };
    my $account = $o->jwt($a, 'aegis', limits => $unlimited);
    # JetStream's own messages go through an account of the server's
    my $system = $class->new('account', $dir, 'system');
    my $of_system = $o->jwt($system, 'SYS', limits => { %$unlimited, mem_storage => 0, disk_storage => 0, streams => 0, consumer => 0 });
    my $user = $a->jwt($u, 'worker', subs => -1, data => -1, payload => -1, pub => {}, sub => {});
    spew("$dir/user.creds", "-----BEGIN NATS USER JWT-----\n$user\n------END NATS USER JWT------\n\n"
        . "-----BEGIN USER NKEY SEED-----\n$u->{seed}\n------END USER NKEY SEED------\n");
    return { conf => "operator: \"$dir/operator.jwt\"\nresolver: MEMORY\nsystem_account: $system->{public}\n"
        . "resolver_preload: { $a->{public}: \"$account\", $system->{public}: \"$of_system\" }\n", creds => "$dir/user.creds" };
}

1;
