/*
 * asyncapi.js FILE: parse an AsyncAPI document with @asyncapi/parser; one line
 * for each error or warning, and 1 when there is one.
 */
const { readFileSync } = require('fs');
const { Parser } = require(require.resolve('@asyncapi/parser', { paths: [process.cwd()] }));

new Parser().parse(readFileSync(process.argv[2], 'utf8')).then(({ document, diagnostics }) => {
    const bad = diagnostics.filter((d) => d.severity < 2);
    bad.forEach((d) => console.log(`${d.path.join('/')}: ${d.message}`));
    process.exit(document && bad.length === 0 ? 0 : 1);
});
