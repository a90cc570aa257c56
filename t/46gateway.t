# 46gateway.t: gateway.shift on a real nginx: weights, no failed request while
# it shifts under load, and every way in which it can go wrong: what was there
# before is there again, in the file and in force.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Front;
use Aegis::Test;

skip_unless('nginx', build_dir . '/t/act/act');

my $f = Aegis::Front->new->start;
my $run = 0;
sub exec_id { return sprintf '00000000-0000-4000-8000-%012d', ++$run }
sub near ($n, $want, $of) { return abs($n - $want * $of) < 5 * sqrt($of * $want * (1 - $want)) }

subtest 'weights' => sub {
    is_deeply($f->share(20), { blue => 20 }, 'at first all is blue');
    my $r = $f->act({ split => 'shop', weights => { shop_green => 25, shop_blue => 75 } }, 'exec-id' => exec_id);
    is($r->{state}, 'OK', 'a quarter is shifted') or diag explain $r;
    is_deeply($r->{result}{weights}, { shop_green => 25, shop_blue => 75 }, 'the result has the weights');
    is($f->served, $r->{result}{id}, 'and its id is what nginx serves');
    my $n = $f->share(800);
    ok(near($n->{green}, 0.25, 800), 'a quarter of the requests is green') or diag explain $n;
    ok(!$n->{lost}, 'none is lost');
    cmp_ok($r->{slowest_ms}, '<', is_san ? 1000 : 200, 'no call of the adapter waited');

    is($f->act({ split => 'shop', to => 'shop_green' }, action => 'gateway.flip', 'exec-id' => exec_id)->{state}, 'OK', 'gateway.flip takes all of it to one group');
    is_deeply($f->share(50), { green => 50 }, 'all is green');
    $r = $f->act({ split => 'shop', weights => { shop_green => 99.99, shop_blue => 0.01 } }, 'exec-id' => exec_id);
    is($r->{state}, 'OK', 'hundredths are weights');
    like($f->file, qr/^    99\.99%  shop_green;$/m, 'as nginx takes them');
};

subtest 'a run is taken back' => sub {
    my $id = exec_id;
    $f->act({ split => 'shop', to => 'shop_blue' }, 'exec-id' => exec_id);
    $f->act({ split => 'shop', weights => { shop_green => $_, shop_blue => 100 - $_ } }, 'exec-id' => $id, step => $_) for 10, 50;
    my $r = $f->act({ split => 'shop' }, 'exec-id' => $id, phase => 'rollback');
    is($r->{state}, 'OK', 'a rollback without weights') or diag explain $r;
    is_deeply($f->share(30), { blue => 30 }, 'goes back to what was there before the run, not before its last step');
    my $before = $f->file;
    $r = $f->act({ split => 'shop' }, 'exec-id' => exec_id, phase => 'rollback');
    is($r->{state}, 'OK', 'of a run that has shifted nothing');
    is($f->file, $before, 'it changes nothing');
};

subtest 'what is refused changes nothing' => sub {
    my ($before, $id) = ($f->file, $f->served);
    my @cases = (
        [{ split => 'nobody', to => 'shop_blue' },                  qr/not in gateway\.splits/],
        [{ split => 'shop', to => 'shop_gone' },                    qr/no group of split shop/],
        [{ split => 'other', to => 'shop_gone' },                   qr/no upstream shop_gone/],
        [{ split => 'shop', weights => { shop_green => 25 } },      qr/25\.00 percent together/],
        [{ split => 'shop', weights => { shop_green => -1, shop_blue => 101 } }, qr/no percentage/],
        [{ split => 'shop', weights => { shop_green => 33.333, shop_blue => 66.667 } }, qr/no percentage/],
        [{ split => 'shop', weights => { shop_green => '100' } },   qr/no percentage/],
        [{ split => 'shop' },                                       qr/neither weights nor to/],
        [{ split => 'shop', to => 'shop_blue', weights => { shop_blue => 100 } }, qr/both/],
        (map { [{ split => 'shop', weights => { $_ => 100 } }, qr/no group of split/] }
            'shop_blue; } server { listen 1; }', '../../x', "shop_blue\n", '$(id)', '', '"', "shop_blue\t", '{}', '#', '*'),
    );
    for my $c (@cases) {
        my $r = $f->act($c->[0], 'exec-id' => exec_id);
        ok($r->{state} eq 'FAILED' && $r->{final} && $r->{error} =~ $c->[1], 'refused: ' . json_encode($c->[0])) or diag explain $r;
    }
    is($f->file, $before, 'the file is as it was');
    is($f->served, $id, 'and what is served');
    my $r = $f->act({ split => 'shop', to => 'shop_green' }, mode => 'check', 'exec-id' => exec_id);
    is($r->{state}, 'OK', 'a dry run');
    like($r->{stdout}, qr/would shift split shop to shop_green 100, shop_blue 0/, 'says what it would do');
    is($f->file, $before, 'and does not');
};

subtest 'no request fails while it shifts' => sub {
    $f->load(6);
    my $bad = 0;
    for my $green (10, 90, 100, 0, 33.33, 0) {
        my $r = $f->act({ split => 'shop', weights => { shop_green => $green, shop_blue => 100 - $green } }, 'exec-id' => exec_id);
        $bad++ if $r->{state} ne 'OK';
    }
    my $n = $f->unload;
    is($bad, 0, 'six shifts under load');
    is($n->{lost}, 0, "none of $n->{asked} requests has failed") or diag explain $n;
    cmp_ok($n->{$_} // 0, '>', 0, "some were $_") for qw(green blue);
};

subtest 'a configuration that is broken before' => sub {
    my ($before, $id) = ($f->file, $f->served);
    spew("$f->{dir}/conf.d/x.conf", "nonsense here;\n");
    my $r = $f->act({ split => 'shop', to => 'shop_green' }, 'exec-id' => exec_id);
    is($r->{state}, 'FAILED', 'is not made worse');
    like($r->{error}, qr/nginx -t fails before anything was changed: unknown directive "nonsense"/, 'nginx says why');
    ok(!$r->{final}, 'somebody may mend it: it can be tried again');
    is($f->file, $before, 'the file is as it was');
    unlink "$f->{dir}/conf.d/x.conf";
    is($f->served, $id, 'and what is served');
};

subtest 'a file that nginx does not take' => sub {
    # what is written does not have $extra, which something else needs
    my $old = slurp(root . '/deploy/gateway/shop.conf') . "map \$uri \$extra { default 1; }\n";
    spew("$f->{dir}/splits/shop.conf", $old);
    spew("$f->{dir}/conf.d/x.conf", "map \$extra \$more { default 1; }\n");
    my $r = $f->act({ split => 'shop', to => 'shop_green' }, 'exec-id' => exec_id, metrics => 1);
    is($r->{state}, 'FAILED', 'nginx -t fails') or diag explain $r;
    like($r->{error}, qr/nginx -t: unknown "extra" variable; the old file is back/, 'nginx says why');
    like($r->{stderr}, qr/\[emerg\].*extra/, 'all that it said is in the output');
    ok($r->{final}, 'trying again is no use');
    like($r->{metrics}, qr/^aegis_gateway_shifts_total\{outcome="restored"\} 1$/m, 'it is counted');
    is($f->file, $old, 'the old file is back, byte for byte');
    unlink "$f->{dir}/conf.d/x.conf";
};

subtest 'a reload that does not come into force' => sub {
    is($f->act({ split => 'shop', to => 'shop_blue' }, 'exec-id' => exec_id)->{state}, 'OK', 'blue');
    my ($before, $id) = ($f->file, $f->served);
    # nginx -t does not mind a port that is taken; the reload does
    my $taken = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => free_port());
    spew("$f->{dir}/conf.d/x.conf", 'server { listen 127.0.0.1:' . $taken->sockport . "; }\n");
    my $r = $f->act({ split => 'shop', to => 'shop_green' }, 'exec-id' => exec_id);
    is($r->{state}, 'FAILED', 'is seen') or diag explain $r;
    like($r->{error}, qr/nginx does not serve it after 2 s: .*; the old file is back/, 'and said');
    ok(!$r->{final}, 'it may be tried again');
    is($f->file, $before, 'the old file is back');
    is($f->served, $id, 'and in force');
    unlink "$f->{dir}/conf.d/x.conf";
    close $taken;
};

subtest 'a file that is not ours' => sub {
    my $before = $f->file;
    spew("$f->{dir}/splits/shop.conf", $before =~ s/^# aegis:.*\n//mr);
    my $r = $f->act({ split => 'shop', to => 'shop_green' }, 'exec-id' => exec_id);
    like($r->{error}, qr/not ours/, 'is not written over');
    unlink "$f->{dir}/splits/shop.conf";
    symlink "$f->{dir}/nginx.conf", "$f->{dir}/splits/shop.conf";
    $r = $f->act({ split => 'shop', to => 'shop_green' }, 'exec-id' => exec_id);
    like($r->{error}, qr/cannot read shop\.conf/, 'nor is a symbolic link followed');
    unlike(slurp("$f->{dir}/nginx.conf"), qr/aegis:/, 'and what it names is untouched');
    unlink "$f->{dir}/splits/shop.conf";
    spew("$f->{dir}/splits/shop.conf", $before);
};

subtest 'an executor that dies' => sub {
    my %step = ('exec-id' => exec_id);
    my $want = { split => 'shop', weights => { shop_green => 40, shop_blue => 60 } };
    is($f->act($want, %step, 'die-at' => 'wrote shop.conf')->{state}, 'DEAD', 'killed between the write and the reload');
    my $written = $f->file;
    my $r = $f->act($want, %step, mode => 'recover', attempt => 1);
    like($r->{state}, qr/^(UNKNOWN|OK)$/, 'another one looks: it is not known, or in force') or diag explain $r;
    $r = $f->act($want, %step, attempt => 2);
    is($r->{state}, 'OK', 'the next attempt goes on') or diag explain $r;
    like($r->{stdout}, qr/an attempt before has written it/, 'with what it finds');
    is($f->file, $written, 'it is not written twice');
    is($f->act($want, %step, mode => 'recover')->{state}, 'OK', 'and after its end it is known');
    is($f->act({ split => 'shop' }, %step, phase => 'rollback')->{state}, 'OK', 'it can be taken back');
    is_deeply($f->share(30), { blue => 30 }, 'to what was before the first attempt');
};

subtest 'stopped' => sub {
    my ($before, $id) = ($f->file, $f->served);
    my $r = $f->act({ split => 'shop', to => 'shop_green' }, 'exec-id' => exec_id, 'cancel-at' => 'wrote shop.conf');
    ok($r->{state} eq 'FAILED' && $r->{cancelled}, 'between the write and its end') or diag explain $r;
    is($f->file, $before, 'the old file is back');
    wait_for('the old weights to be in force', 10, sub { $f->served eq $id });
    is($f->served, $id, 'and in force');
};

subtest 'one at a time' => sub {
    my @p = map { start_process("shift-" . $_, [build_dir . '/t/act/act', '--conf', "$f->{dir}/aegis.yaml", '--objects', "$f->{dir}/objects", '--exec-id', exec_id,
        '--action', 'gateway.shift', '--params', json_encode({ split => 'shop', weights => { shop_green => $_ + 0, shop_blue => 100 - $_ } })], env => {san_env}) } 20, 40, 60, 80;
    for my $p (@p) {
        wait_for("$p->{name} to end", 60, sub { waitpid($p->{pid}, POSIX::WNOHANG()) == $p->{pid} ? $p->{status} = 1 : 0 });
    }
    is(scalar(grep { slurp($_->{log}) =~ /"state":"OK"/ } @p), 4, 'four shifts at once are four shifts in a row') or diag slurp($_->{log}) for @p;
    is($f->served, $f->file =~ /"id":"([^"]+)"/ ? $1 : '', 'the file of the last is what is served');
};

is_deeply([ grep { !/^(shop\.conf|shop\.before|\.lock|\.\.?)$/ } map { s{.*/}{}r } glob "$f->{dir}/splits/{*,.*}" ], [], 'nothing else is left in gateway.dir');
$f->stop;
unlike(slurp("$f->{dir}/error.log"), qr/\[alert\]/, 'nginx has nothing to alert about');
done_testing;
