# Aegis::Jwt: keys and tokens for tests, made with the openssl command, so that
# what our verifier is judged by is not our own code. Keys live in a folder of
# the caller and die with it; nothing private is ever written into the project.
package Aegis::Jwt;

use v5.36;
use Exporter 'import';
use MIME::Base64 ();
use Aegis::Test;

our @EXPORT = qw(b64u unb64u make_jwk jwks sign_jws jwt public_jwk);

sub b64u ($bytes) {
    my $s = MIME::Base64::encode_base64($bytes, '');
    $s =~ tr{+/}{-_};
    $s =~ s{=+\z}{};
    return $s;
}

sub unb64u ($text) {
    $text =~ tr{-_}{+/};
    return MIME::Base64::decode_base64($text . '=' x (-length($text) % 4));
}

my %how = (
    RS256 => sub ($o) { return (qw(-algorithm RSA -pkeyopt), 'rsa_keygen_bits:' . ($o->{bits} // 2048)) },
    ES256 => sub ($o) { return (qw(-algorithm EC -pkeyopt), 'ec_paramgen_curve:' . ($o->{curve} // 'P-256')) },
    EdDSA => sub ($o) { return (qw(-algorithm ed25519)) },
);

# {alg, kid, pem, jwk}; jwk is the public key as a hash.
sub make_jwk ($dir, $alg, $kid, %opt) {
    my $pem = "$dir/" . ($kid // 'none') . '-' . new_key('p') . '.pem';
    run_ok(['openssl', 'genpkey', $how{$alg}->(\%opt), '-out', $pem]);
    my $jwk = public_jwk($pem, $alg);
    $jwk->{kid} = $kid if defined $kid;
    return { alg => $alg, kid => $kid, pem => $pem, jwk => $jwk };
}

sub public_jwk ($pem, $alg) {
    my $der = run_ok(['openssl', 'pkey', '-in', $pem, '-pubout', '-outform', 'DER']);
    return { kty => 'OKP', crv => 'Ed25519', x => b64u(substr $der, -32) } if $alg eq 'EdDSA';
    if ($alg eq 'ES256') {
        my $n = length $der > 100 ? 48 : 32;
        return { kty => 'EC', crv => $n == 48 ? 'P-384' : 'P-256', x => b64u(substr $der, -2 * $n, $n),
                 y => b64u(substr $der, -$n) };
    }
    my ($hex) = run_ok(['openssl', 'rsa', '-in', $pem, '-noout', '-modulus']) =~ /=([0-9A-F]+)/;
    return { kty => 'RSA', n => b64u(pack 'H*', $hex), e => 'AQAB' };
}

sub jwks (@keys) { return json_encode({ keys => [ map { $_->{jwk} // $_ } @keys ] }) }

# DER of an ECDSA signature as r || s, n bytes each.
sub raw_ecdsa ($der, $n) {
    my $at = 2 + (ord(substr $der, 1, 1) & 0x80 ? ord(substr $der, 1, 1) & 0x7f : 0);
    my $raw = '';
    for (1 .. 2) {
        my $len = ord substr $der, $at + 1, 1;
        my $int = substr $der, $at + 2, $len;
        $int =~ s/^\0+//;
        $raw .= "\0" x ($n - length $int) . $int;
        $at += 2 + $len;
    }
    return $raw;
}

# The signature over the input, as JWS has it, as bytes.
sub sign_jws ($key, $input) {
    my $file = spew("$key->{pem}.in", $input);
    return run_ok(['openssl', 'pkeyutl', '-sign', '-rawin', '-inkey', $key->{pem}, '-in', $file])
        if $key->{alg} eq 'EdDSA';
    my $sig = run_ok(['openssl', 'dgst', '-sha256', '-sign', $key->{pem}, $file]);
    return $sig if $key->{alg} eq 'RS256';
    return raw_ecdsa($sig, $key->{jwk}{crv} eq 'P-384' ? 48 : 32);
}

# A signed token. header and claims are hashes, or text that is taken as it is.
sub jwt ($key, $claims, $header = {}) {
    my $h = ref $header
        ? json_encode({ alg => $key->{alg}, typ => 'JWT', defined $key->{kid} ? (kid => $key->{kid}) : (), %$header })
        : $header;
    my $input = b64u($h) . '.' . b64u(ref $claims ? json_encode($claims) : $claims);
    return $input . '.' . b64u(sign_jws($key, $input));
}

1;
