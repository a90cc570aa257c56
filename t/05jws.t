# 05jws.t: signatures of others against our verifier. By itself it signs with
# openssl in many rounds of fresh keys; with AEGIS_T_WYCHEPROOF naming the
# folder testvectors_v1 of C2SP/wycheproof it also runs every vector there that
# our three algorithms can meet. docs/testing.md has the counts of the last run.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Test;
use Aegis::Jwt;

my $tool = build_dir . '/t/tools/jws';
skip_unless($tool, 'openssl');

# One line of answer for each [jwks, jws].
sub judge (@pairs) {
    my $in = join '', map { json_encode({ jwks => $_->[0], jws => $_->[1] }) . "\n" } @pairs;
    my $file = spew(scratch() . '/in', $in);
    return split /\n/, run_ok(['sh', '-c', '"$1" <"$2"', 'sh', $tool, $file], env => { san_env });
}

subtest 'signatures of openssl' => sub {
    my $dir = scratch('keys');
    my (@pairs, @want);
    for my $alg (qw(RS256 ES256 EdDSA)) {
        for my $round (1 .. 4) {
            my ($key, $other) = map { make_jwk($dir, $alg, "k$round") } 1, 2;
            my $set = { keys => [$key->{jwk}] };
            push @pairs, [$set, jwt($key, { n => $round })], [$set, jwt($other, { n => $round })];
            push @want, 'ok', 'signature';
        }
    }
    is_deeply([judge(@pairs)], \@want, 'those of the key hold, those of another with its name do not');
};

my $vectors = $ENV{AEGIS_T_WYCHEPROOF};
plan_done() unless $vectors;

sub groups ($file) { return @{ json_decode(slurp("$vectors/$file"))->{testGroups} } }

# Compare the answers with the vectors' own results. Each line of @rows is
# [set, jws, result, what]; a vector that is to be refused must be, an "acceptable"
# one may be either.
sub compare ($name, @rows) {
    my @got = judge(@rows);
    my (@wrong, %n);
    for my $i (0 .. $#rows) {
        my $ok = $got[$i] eq 'ok';
        my $want = $rows[$i][2];
        $n{"$want, " . ($ok ? 'accepted' : 'refused')}++;
        push @wrong, "$rows[$i][3]: $got[$i]" if $want eq 'valid' && !$ok || $want eq 'invalid' && $ok;
    }
    is_deeply(\@wrong, [], "$name: " . join '; ', map { "$_ $n{$_}" } sort keys %n);
}

# The public half: a set that publishes a private key is refused by us anyway.
sub public ($jwk) {
    my %j = %$jwk;
    delete @j{qw(d p q dp dq qi oth)};
    return \%j;
}

sub set_of ($group) {
    my $keys = $group->{public} // $group->{private};
    return { keys => [ map { public($_) } $keys->{keys} ? @{ $keys->{keys} } : $keys ] };
}

# What we do not do is to be refused: HMAC, RSA-PSS, other hashes and curves.
sub ours ($group) {
    my @keys = @{ set_of($group)->{keys} };
    return !grep { ($_->{kty} // '') eq 'oct' || ($_->{alg} // '') =~ /^(?:HS|PS|RS384|RS512|ES384|ES5)/ } @keys;
}

for my $file (qw(json_web_signature_test.json json_web_key_test.json json_web_crypto_test.json)) {
    my @rows;
    for my $g (groups($file)) {
        my $ours = ours($g);
        for my $t (grep { defined $_->{jws} } @{ $g->{tests} }) {
            # a valid token of an algorithm that is not ours has to be refused
            my $want = $ours ? $t->{result} : 'invalid';
            my $jws = ref $t->{jws} ? json_encode($t->{jws}) : $t->{jws};
            push @rows, [set_of($g), $jws, $want, "$file $t->{tcId} $g->{comment}: $t->{comment}"];
        }
    }
    compare($file, @rows);
}

# The primitives alone: messages that are no token, keys as the vectors give them.
my %file = (RS256 => [map { "rsa_signature_${_}_sha256_test.json" } 2048, 3072, 4096, 8192],
    ES256 => ['ecdsa_secp256r1_sha256_p1363_test.json'], EdDSA => ['ed25519_test.json']);
for my $alg (sort keys %file) {
    raw_vectors($alg, $_) for @{ $file{$alg} };
}

sub raw_vectors ($alg, $file) {
    my (@lines, @tests);
    for my $g (groups($file)) {
        my $k = $g->{publicKeyJwk} // $g->{publicKey};
        my $jwk = $g->{publicKeyJwk} ? public($k)
            : $alg eq 'RS256' ? { kty => 'RSA', n => b64u(pack('H*', $k->{modulus}) =~ s/^\0+//r),
                                  e => b64u(pack('H*', $k->{publicExponent}) =~ s/^\0+//r) }
            : $alg eq 'ES256' ? do { my $p = pack 'H*', $k->{uncompressed};
                { kty => 'EC', crv => 'P-256', x => b64u(substr $p, 1, 32), y => b64u(substr $p, 33) } }
            : { kty => 'OKP', crv => 'Ed25519', x => b64u(pack 'H*', $k->{pk}) };
        delete @$jwk{qw(alg kid use key_ops)};
        for my $t (@{ $g->{tests} }) {
            push @lines, json_encode({ jwks => { keys => [$jwk] }, alg => $alg, msg => $t->{msg}, sig => $t->{sig} }) . "\n";
            push @tests, $t;
        }
    }
    my $in = spew(scratch() . '/in', join '', @lines);
    my @got = split /\n/, run_ok(['sh', '-c', '"$1" raw <"$2"', 'sh', $tool, $in], env => { san_env });
    my (@wrong, %n);
    for my $i (0 .. $#tests) {
        my ($ok, $want) = ($got[$i] eq 'ok', $tests[$i]{result});
        $n{"$want, " . ($ok ? 'accepted' : 'refused')}++;
        push @wrong, "$file $tests[$i]{tcId} $tests[$i]{comment}: $got[$i]" if $want eq 'valid' && !$ok || $want eq 'invalid' && $ok;
    }
    is_deeply(\@wrong, [], "$file: " . join '; ', map { "$_ $n{$_}" } sort keys %n);
}

done_testing;

sub plan_done () {
    note 'AEGIS_T_WYCHEPROOF names no folder of vectors';
    done_testing;
    exit;
}
