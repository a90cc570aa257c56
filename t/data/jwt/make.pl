#!/usr/bin/perl
# make.pl: writes cases.json beside it: tokens, good and bad, each with the
# reason that the verifier must give. Run it by hand, from the project's root,
# when a case is added; keys are made anew each time and their private halves
# are thrown away, so what is committed is public.
use v5.36;
use lib 't/lib';
use Digest::SHA qw(hmac_sha256);
use JSON::PP ();
use Aegis::Test;
use Aegis::Jwt;

my $dir = scratch('keys');
my $now = 1795640000;
my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my %policy = (issuer => 'https://issuer.example', audience => 'aegis', leeway => 60,
    algs => ['RS256', 'ES256', 'EdDSA'], tenant_claim => 'tenant', principal_claim => 'sub', scope_claim => 'scope');

my %k = (rs => make_jwk($dir, 'RS256', 'rs-1'), es => make_jwk($dir, 'ES256', 'es-1'), ed => make_jwk($dir, 'EdDSA', 'ed-1'));
my %other = (rs => make_jwk($dir, 'RS256', 'rs-1'), es => make_jwk($dir, 'ES256', 'es-1'), ed => make_jwk($dir, 'EdDSA', 'ed-1'));
my $es2 = make_jwk($dir, 'ES256', 'es-2');
my $p384 = make_jwk($dir, 'ES256', 'es-1', curve => 'P-384');
my $big = make_jwk($dir, 'RS256', 'rs-4096', bits => 4096);
my $bare = make_jwk($dir, 'EdDSA', undef);
my %sets = (all => [$k{rs}, $k{es}, $k{ed}, $big], two => [$k{es}, $es2, $k{rs}], bare => [$bare]);

my %claims = (iss => $policy{issuer}, aud => 'aegis', sub => 'u-1', tenant => 'acme', exp => $now + 300,
    iat => $now - 10, nbf => $now - 10, scope => 'case:read case:write');
my @cases;

sub put ($name, $reason, $token, %more) {
    push @cases, { name => $name, reason => $reason, token => $token, %more };
}
# a token of the ES256 key with claims changed; undef removes
sub claim ($name, $reason, $change, %more) {
    my %c = (%claims, %$change);
    delete @c{ grep { !defined $c{$_} } keys %c };
    put($name, $reason, jwt($k{es}, \%c), %more);
}
sub head ($name, $reason, $header, %more) { put($name, $reason, jwt($k{es}, \%claims, $header), %more) }
# a token with its signature replaced
sub resign ($token, $sig) { return $token =~ s/[^.]*\z//r . b64u($sig) }
sub sig_of ($token) { return unb64u($token =~ s/.*\.//r) }

# --- good ones
put("$_ is accepted", 'ok', jwt($k{$_}, \%claims)) for qw(rs es ed);
put('RSA of 4096 bits is accepted', 'ok', jwt($big, \%claims));
put('an access token (at+jwt) is accepted', 'ok', jwt($k{ed}, \%claims, { typ => 'at+JWT' }));
put('typ may be absent', 'ok', jwt($k{es}, \%claims, '{"alg":"ES256","kid":"es-1"}'));
put('JSON may have white space', 'ok', jwt($k{es}, " {\n\t\"iss\" : \"$policy{issuer}\", \"aud\":\"aegis\",\"sub\":\"u\",\"tenant\":\"t\",\"exp\":1795640300 }\r\n",
    "\n{ \"alg\" : \"ES256\" ,\t\"kid\":\"es-1\" }"));
put('a key without kid serves a token without kid', 'ok', jwt($bare, \%claims), set => 'bare');
put('without kid the only key of the algorithm is taken', 'ok', jwt({ %{ $k{es} }, kid => undef }, \%claims));
claim('aud may be a list', 'ok', { aud => ['other', 'aegis'] });
claim('exp may have a fraction', 'ok', { exp => $now + 0.5 });
claim('leeway covers a clock that is behind', 'ok', { exp => $now - 59 });
claim('leeway covers a clock that is ahead', 'ok', { nbf => $now + 60 });
claim('nbf may be absent', 'ok', { nbf => undef });
claim('scope may be absent', 'ok', { scope => undef });
claim('scope may be a list', 'ok', { scope => ['case:read', 'case:write'] });
head('jwk, jku, x5u and x5c are ignored', 'ok', { jwk => $other{es}{jwk}, jku => 'https://evil.example/', x5u => 'https://evil.example/', x5c => ['AA=='] });

# --- form
my $good = jwt($k{es}, \%claims);
my ($h, $p, $s) = split /\./, $good;
put('nothing', 'malformed', '');
put('one part', 'malformed', $h);
put('two parts', 'malformed', "$h.$p");
put('two parts and a dot', 'malformed', "$h.$p.");
put('four parts', 'malformed', "$good.");
put('five parts, as JWE has', 'malformed', "$h.$p.$s.$h.$p");
put('an empty header', 'malformed', ".$p.$s");
put('an empty payload', 'signature', "$h..$s");
put('an empty payload that is signed', 'claims', jwt($k{es}, ''));
put('JSON serialization', 'malformed', json_encode({ payload => $p, protected => $h, signature => $s }));
put('padding of the header', 'malformed', "$h=.$p.$s");
put('padding of the signature', 'malformed', "$good==");
put('white space before', 'malformed', " $good");
put('white space inside', 'malformed', "$h.$p. $s");
put('a newline behind', 'malformed', "$good\n");
put('digits of plain base64', 'malformed', $good =~ s/-|_|.\z/+/r);
my $last = substr $s, -1;
(my $twin = $last) =~ tr{AQgw}{BRhx};
put('unused bits of the signature are set', 'malformed', substr($good, 0, -1) . $twin);
put('the header is no object', 'malformed', jwt($k{es}, \%claims, '[]'));
put('the header is no JSON', 'malformed', jwt($k{es}, \%claims, '{"alg":"ES256",}'));
put('the header is not UTF-8', 'malformed', jwt($k{es}, \%claims, "{\"alg\":\"ES256\",\"kid\":\"\xff\"}"));
put('alg twice in the header', 'malformed', jwt($k{es}, \%claims, '{"alg":"none","alg":"ES256","kid":"es-1"}'));
put('a NUL in kid', 'malformed', jwt($k{es}, \%claims, '{"alg":"ES256","kid":"es-1\u0000"}'));
put('kid is a number', 'malformed', jwt($k{es}, \%claims, '{"alg":"ES256","kid":1}'));
put('kid of 257 bytes', 'malformed', jwt($k{es}, \%claims, { kid => 'k' x 257 }));
put('a header nested 33 deep', 'malformed', jwt($k{es}, \%claims, '{"alg":"ES256","kid":"es-1","a":' . '[' x 32 . ']' x 32 . '}'));
put('a token of 16 KiB', 'too-long', jwt($k{es}, { %claims, pad => 'x' x 12000 }));
put('a token of 8193 bytes', 'too-long', 'a' x 8193);

# --- algorithms
my $public = run_ok(['openssl', 'pkey', '-in', $k{rs}{pem}, '-pubout']);
for my $alg ('none', 'None', 'NONE', 'nOnE', '', 'HS256', 'HS512', 'RS512', 'PS256', 'ES512', 'ES256K', 'rs256', 'EDDSA', 'Ed25519', 'RSA1_5', 'ES256 ') {
    put("alg '$alg' with a good signature", 'algorithm', jwt($k{es}, \%claims, { alg => $alg }));
}
put('alg none without a signature', 'malformed', b64u('{"alg":"none"}') . '.' . b64u(json_encode(\%claims)) . '.');
put('alg none with a signature of one byte', 'algorithm', b64u('{"alg":"none"}') . '.' . b64u(json_encode(\%claims)) . '.AA');
put('no alg', 'algorithm', jwt($k{es}, \%claims, '{"kid":"es-1"}'));
put('alg is a number', 'algorithm', jwt($k{es}, \%claims, '{"alg":256,"kid":"es-1"}'));
put('alg is a list', 'algorithm', jwt($k{es}, \%claims, '{"alg":["ES256"],"kid":"es-1"}'));
for my $secret ([PEM => $public], ['n of the JWK' => unb64u($k{rs}{jwk}{n})], ['JWK' => json_encode($k{rs}{jwk})], [nothing => '']) {
    my $in = b64u('{"alg":"HS256","kid":"rs-1"}') . '.' . b64u(json_encode(\%claims));
    put("HS256 with the public key ($secret->[0]) as its secret", 'algorithm', "$in." . b64u(hmac_sha256($in, $secret->[1])));
    $in = b64u('{"alg":"RS256","kid":"rs-1"}') . '.' . b64u(json_encode(\%claims));
    put("the same that calls itself RS256 ($secret->[0])", 'signature', "$in." . b64u(hmac_sha256($in, $secret->[1])));
}
put('RS256 named for a key of P-256', 'algorithm', jwt($k{es}, \%claims, { alg => 'RS256' }));
put('ES256 named for an RSA key', 'algorithm', jwt($k{rs}, \%claims, { alg => 'ES256' }));
put('EdDSA named for a key of P-256', 'algorithm', jwt($k{es}, \%claims, { alg => 'EdDSA' }));
put('an algorithm that the policy does not list', 'algorithm', jwt($k{rs}, \%claims), algs => ['ES256', 'EdDSA']);

# --- keys
put("$_ of another key with the same kid", 'signature', jwt($other{$_}, \%claims)) for qw(rs es ed);
put('another curve (P-384)', 'signature', jwt($p384, \%claims));
put('an unknown kid', 'kid-unknown', jwt({ %{ $k{es} }, kid => 'es-9' }, \%claims));
put('an empty kid', 'kid-unknown', jwt({ %{ $k{es} }, kid => '' }, \%claims));
put('a kid that is a path', 'kid-unknown', jwt({ %{ $k{es} }, kid => '../../../../dev/null' }, \%claims));
put('a kid that is SQL', 'kid-unknown', jwt({ %{ $k{es} }, kid => "x' OR '1'='1" }, \%claims));
put('the kid of a neighbour', 'signature', jwt({ %{ $k{es} }, kid => 'es-2' }, \%claims), set => 'two');
put('no kid where two keys could be meant', 'kid-missing', jwt({ %{ $k{es} }, kid => undef }, \%claims), set => 'two');
put('no kid where no key could be meant', 'kid-missing', jwt({ %{ $k{ed} }, kid => undef }, \%claims), set => 'two');
put('the attacker\'s key in jwk', 'signature', jwt($other{es}, \%claims, { jwk => $other{es}{jwk} }));
put('the attacker\'s key in jwk, without kid', 'signature', jwt({ %{ $other{es} }, kid => undef }, \%claims, { jwk => $other{es}{jwk} }));

# --- signatures
my %t = map { $_ => jwt($k{$_}, \%claims) } qw(rs es ed);
for my $a (qw(rs es ed)) {
    my $sig = sig_of($t{$a});
    put("$a with its last byte cut", 'signature', resign($t{$a}, substr $sig, 0, -1));
    put("$a with its first byte cut", 'signature', resign($t{$a}, substr $sig, 1));
    put("$a with a byte more", 'signature', resign($t{$a}, "$sig\0"));
    put("$a with a zero before", 'signature', resign($t{$a}, "\0$sig"));
    put("$a twice", 'signature', resign($t{$a}, $sig . $sig));
    put("$a with one bit changed", 'signature', resign($t{$a}, $sig ^. ("\0" x 10 . "\1")));
    put("$a of zeroes", 'signature', resign($t{$a}, "\0" x length $sig));
    put("$a of ones", 'signature', resign($t{$a}, "\xff" x length $sig));
    put("$a of one byte", 'signature', resign($t{$a}, "\1"));
    my ($hh, $pp, $ss) = split /\./, $t{$a};
    put("$a with other claims", 'signature', "$hh." . b64u(json_encode({ %claims, tenant => 'evil' })) . ".$ss");
    put("$a with another header", 'signature', b64u(unb64u($hh) =~ s/\}\z/ }/r) . ".$pp.$ss");
}
my $order = pack 'H*', 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551';
my ($r, $v) = (substr(sig_of($t{es}), 0, 32), substr(sig_of($t{es}), 32));
my $one = "\0" x 31 . "\1";
put('ES256 with r = 0', 'signature', resign($t{es}, "\0" x 32 . $v));
put('ES256 with s = 0', 'signature', resign($t{es}, $r . "\0" x 32));
put('ES256 with r = s = 1', 'signature', resign($t{es}, $one . $one));
put('ES256 with r = n', 'signature', resign($t{es}, $order . $v));
put('ES256 with s = n', 'signature', resign($t{es}, $r . $order));
put('ES256 with r and s exchanged', 'signature', resign($t{es}, $v . $r));
put('ES256 as DER', 'signature', resign($t{es}, run_ok(['openssl', 'dgst', '-sha256', '-sign', $k{es}{pem},
    spew("$dir/in", $t{es} =~ s/\.[^.]*\z//r)])));

# --- headers
head('crit', 'critical', { crit => ['exp'], exp => 1 });
head('crit that is empty', 'critical', { crit => [] });
head('crit that is null', 'critical', { crit => undef });
head('crit of b64', 'critical', { crit => ['b64'], b64 => $false });
head('b64 alone', 'critical', { b64 => $true });
head("typ $_", 'type', { typ => $_ }) for 'dpop+jwt', 'logout+jwt', 'secevent+jwt', 'JOSE', '';
head('typ that is no string', 'type', { typ => ['JWT'] });

# --- claims
put('claims that are a list', 'claims', jwt($k{es}, '[]'));
put('claims that are text', 'claims', jwt($k{es}, 'hello'));
put('claims that are another JWT', 'claims', jwt($k{es}, $good, { cty => 'JWT' }));
put('claims that are empty', 'issuer', jwt($k{es}, '{}'));
put('exp twice', 'claims', jwt($k{es}, '{"exp":1,"exp":1795640300,"iss":"https://issuer.example","aud":"aegis","sub":"u","tenant":"t"}'));
put('claims with something behind', 'claims', jwt($k{es}, json_encode(\%claims) . '{}'));
put('claims nested 33 deep', 'claims', jwt($k{es}, '{"a":' . '[' x 32 . ']' x 32 . '}'));
claim('no exp', 'claims', { exp => undef });
claim('exp is a string', 'claims', { exp => '' . ($now + 300) });
claim('exp is negative', 'claims', { exp => -1 });
claim('exp is true', 'claims', { exp => $true });
claim('exp is a list', 'claims', { exp => [$now + 300] });
claim('exp is after the year 9999', 'claims', { exp => 253402300800 });
my $raw = sub ($exp) { return jwt($k{es}, json_encode({ %claims, exp => 'EXP' }) =~ s/"EXP"/$exp/r) };
put('exp does not fit 64 bits', 'claims', $raw->('99999999999999999999'));
put('exp is the largest integer', 'claims', $raw->('9223372036854775807'));
put('exp is the smallest integer', 'claims', $raw->('-9223372036854775808'));
put('exp is 1e300', 'claims', $raw->('1e300'));
put('exp is 1e999', 'claims', $raw->('1e999'));
put('exp is -0.5', 'claims', $raw->('-0.5'));
put('exp is null', 'claims', $raw->('null'));
put('exp in exponent form', 'ok', $raw->('1.7956403e9'));
claim('expired', 'expired', { exp => $now - 60 });
claim('expired long ago', 'expired', { exp => 0 });
claim('expired by a fraction', 'expired', { exp => $now - 59.5 });
claim('nbf in the future', 'not-yet', { nbf => $now + 61 });
claim('nbf is a string', 'claims', { nbf => "$now" });
put('nbf is null', 'claims', jwt($k{es}, json_encode({ %claims, nbf => undef })));
claim('another issuer', 'issuer', { iss => 'https://issuer.example/' });
claim('no issuer', 'issuer', { iss => undef });
claim('a list of issuers', 'issuer', { iss => ['https://issuer.example'] });
claim('another audience', 'audience', { aud => 'aegis2' });
claim('a prefix of the audience', 'audience', { aud => 'aegi' });
claim('no audience', 'audience', { aud => undef });
claim('an empty list of audiences', 'audience', { aud => [] });
claim('a list of other audiences', 'audience', { aud => ['a', 'b'] });
claim('a list of audiences with a number', 'audience', { aud => ['aegis', 1] });
claim('a list in a list of audiences', 'audience', { aud => [['aegis']] });
claim('an audience that is an object', 'audience', { aud => { aegis => 1 } });
claim('no tenant', 'tenant', { tenant => undef });
claim('an empty tenant', 'tenant', { tenant => '' });
claim('a tenant of 64 characters', 'tenant', { tenant => 't' x 64 });
claim('a tenant with a blank', 'tenant', { tenant => 'a b' });
claim('a tenant with a newline', 'tenant', { tenant => "a\nb" });
claim('a tenant beyond ASCII', 'tenant', { tenant => "\x{fc}" });
claim('a list of tenants', 'tenant', { tenant => ['acme'] });
claim('no principal', 'principal', { sub => undef });
claim('a principal of 129 characters', 'principal', { sub => 'p' x 129 });
claim('a principal that begins with aegis:', 'principal', { sub => 'aegis:planner' });
claim('a principal that begins with Aegis:', 'principal', { sub => 'Aegis:' });
put('a principal that goes on with aegis:', 'ok', jwt($k{es}, { %claims, sub => 'x-aegis:planner' }));
claim('a principal that is a number', 'principal', { sub => 7 });
claim('a scope that is a number', 'claims', { scope => 7 });
claim('the tenant in a claim of another name', 'tenant', {}, tenant_claim => 'org');
put('all of it in claims of other names', 'ok', jwt($k{es}, { %claims, org => 'acme', azp => 'app' }),
    tenant_claim => 'org', principal_claim => 'azp', scope_claim => 'scp');

# --- key sets: how many keys are taken and left out, or that the set is refused
my @sets;
sub set ($name, $taken, $left_out, $text) {
    push @sets, { name => $name, taken => $taken, left_out => $left_out, text => ref $text ? json_encode({ keys => $text }) : $text };
}
sub refused ($name, $text) { set($name, 0, 0, $text) }
my ($rs, $es, $ed) = map { $k{$_}{jwk} } qw(rs es ed);
my $small = make_jwk($dir, 'RS256', 'small', bits => 2047)->{jwk};
my $huge = { %{ $k{rs}{jwk} }, kid => 'huge', n => b64u("\xc5" x 1025) };
my $enc = { %$rs, kid => 'enc', use => 'enc' };
set('three types', 3, 0, [$rs, $es, $ed]);
set('a key of 8192 bits is taken', 1, 0, [{ %$rs, kid => 'big', n => b64u("\xc5" x 1024) }]);
set('members that nobody knows are ignored', 1, 0, [{ %$es, x5c => ['AA=='], x5t => 'a', foo => { bar => [] } }]);
set('use, key_ops and alg that fit', 1, 0, [{ %$es, use => 'sig', key_ops => ['sign', 'verify'], alg => 'ES256' }]);
set('the same key twice is one', 1, 0, [$es, $es]);
set('one kid for two algorithms is two keys', 2, 0, [{ %$rs, kid => 'a' }, { %$es, kid => 'a' }]);
set('keys without kid may be many', 2, 0, [map { my %j = %$_; delete $j{kid}; \%j } $es, $es2->{jwk}]);
set("$_->[0] is left out", 1, 1, [$ed, $_->[1]]) for
    ['a key for encryption', $enc], ['a key of 2047 bits', $small], ['a key of 8200 bits', $huge],
    ['a key whose alg is another', { %$rs, alg => 'PS256' }], ['a key whose alg is another type\'s', { %$rs, alg => 'ES256' }],
    ['a key whose alg is a number', { %$rs, alg => 256 }], ['a key whose use is a list', { %$rs, use => ['sig'] }],
    ['a key whose key_ops lack verify', { %$rs, key_ops => ['encrypt'] }], ['a key whose key_ops are a string', { %$rs, key_ops => 'verify' }],
    ['P-384', $p384->{jwk}], ['P-384 that calls itself P-256', { %{ $p384->{jwk} }, crv => 'P-256' }],
    ['Ed448', { kty => 'OKP', crv => 'Ed448', x => $ed->{x} }], ['X25519', { kty => 'OKP', crv => 'X25519', x => $ed->{x} }],
    ['a type that nobody knows', { kty => 'AKP', pub => 'AA' }], ['no type', { kid => 'x' }], ['a type that is a number', { kty => 1 }],
    ['a string', 'x'], ['null', undef], ['a list', []],
    ['a point that is not on the curve', { %$es, kid => 'p', y => b64u(("\0" x 31) . "\1") }],
    ['the point at infinity', { %$es, kid => 'p', x => b64u("\0" x 32), y => b64u("\0" x 32) }],
    ['a coordinate of the field\'s size', { %$es, kid => 'p', x => b64u(pack 'H*', 'ffffffff00000001000000000000000000000000ffffffffffffffffffffffff') }],
    ['x of 31 bytes', { %$es, kid => 'p', x => b64u(substr unb64u($es->{x}), 1) }],
    ['x of 33 bytes', { %$es, kid => 'p', x => b64u("\0" . unb64u($es->{x})) }],
    ['x with padding', { %$es, kid => 'p', x => "$es->{x}=" }], ['no y', { %$es, kid => 'p', y => undef }],
    ['an Ed25519 key of 31 bytes', { kty => 'OKP', crv => 'Ed25519', x => b64u(substr unb64u($ed->{x}), 1) }],
    ['e = 1', { %$rs, kid => 'p', e => 'AQ' }], ['e = 0', { %$rs, kid => 'p', e => 'AA' }], ['an even e', { %$rs, kid => 'p', e => 'AQAC' }],
    ['e of 9 bytes', { %$rs, kid => 'p', e => b64u("\1" x 9) }], ['no e', { %$rs, kid => 'p', e => undef }],
    ['e with a leading zero', { %$rs, kid => 'p', e => 'AAEAAQ' }], ['n with a leading zero', { %$rs, kid => 'p', n => b64u("\0" . unb64u($rs->{n})) }],
    ['an even n', { %$rs, kid => 'p', n => b64u(substr(unb64u($rs->{n}), 0, -1) . "\x02") }],
    ['n that is a list', { %$rs, kid => 'p', n => [$rs->{n}] }], ['n in plain base64', { %$rs, kid => 'p', n => "+$rs->{n}" }],
    ['a kid that is a number', { %$rs, kid => 7 }], ['a kid of 257 bytes', { %$rs, kid => 'k' x 257 }];
refused('a private RSA key', [$ed, { %$rs, kid => 'p', d => 'AQ' }]);
refused('a private Ed25519 key', [$es, { %$ed, kid => 'p', d => $ed->{x} }]);
refused('a symmetric key beside public ones', [$es, { kty => 'oct', k => 'AAAA', kid => 'p' }]);
refused('two keys of one algorithm with one kid', [$es, { %{ $es2->{jwk} }, kid => 'es-1' }]);
refused('65 keys', [map { { %$es, kid => "k$_" } } 1 .. 65]);
set('64 keys', 64, 0, [map { { %$es, kid => "k$_" } } 1 .. 64]);
refused('nothing usable', [$enc]);
refused('no keys', []);
refused($_->[0], $_->[1]) for ['nothing', ''], ['no JSON', 'hello'], ['HTML', '<!doctype html>'], ['an array', '[]'], ['an object without keys', '{}'],
    ['keys that are an object', '{"keys":{}}'], ['a bare key', json_encode($es)], ['keys twice', '{"keys":[],"keys":[' . json_encode($es) . ']}'],
    ['two documents', json_encode({ keys => [$es] }) . '{}'], ['a document that ends early', substr json_encode({ keys => [$es] }), 0, -1];

my $out = { key_sets => \@sets, about => 'made by t/data/jwt/make.pl', now => $now, policy => \%policy,
    sets => { map { my $n = $_; $n => { keys => [ map { $_->{jwk} } @{ $sets{$n} } ] } } keys %sets }, cases => \@cases };
spew('t/data/jwt/cases.json', JSON::PP->new->utf8->canonical->indent->indent_length(1)->encode($out));
say scalar(@cases), ' tokens, ', scalar(@sets), ' key sets';

# --- seeds of the fuzzers
for my $one (['whole-es', "t$t{es}"], ['whole-rfc', 'teyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg'],
    ['header', 'h{"alg":"EdDSA","kid":"a","typ":"JWT","crit":["exp"],"b64":true,"jwk":{}}'], ['header-good', 'h{"alg":"EdDSA","kid":"a"}'],
    ['claims', 'c{"iss":"iss","aud":["aud"],"exp":1795640300.5,"nbf":1795640000,"sub":"s","tenant":"t","scope":"a b"}'],
    ['claims-list', 'c{"iss":"iss","aud":"aud","exp":1795640300,"sub":"s","tenant":"t","scope":["a","b c",1]}']) {
    spew("t/data/fuzz/jwt/$one->[0]", $one->[1]);
}
for my $one (['three.json', [$rs, $es, $ed]], ['used.json', [{ %$es, use => 'sig', alg => 'ES256', key_ops => ['verify'], kid => 'a' }]],
    ['private.json', [{ %$ed, d => $ed->{x} }]], ['twice.json', [$es, { %{ $es2->{jwk} }, kid => 'es-1' }]], ['p384.json', [$ed, $p384->{jwk}]]) {
    spew("t/data/fuzz/jwks/$one->[0]", json_encode({ keys => $one->[1] }));
}
