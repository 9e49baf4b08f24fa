// Renders the templates of mail/src/template/tests/official by MJML's own compiler, beside them:
//   node e2e/mjml/golden.js [--check] MODULES
// MODULES: a folder with the node_modules of e2e/mjml/package.json, .data/tools/mjml after ./run test.
// --check: say where what is there is not what it makes.
'use strict';
const fs = require('node:fs');
const path = require('node:path');

const check = process.argv[2] === '--check';
const modules = path.resolve(process.argv[check ? 3 : 2], 'node_modules');
const mjml = require(path.join(modules, 'mjml'));
const folder = path.join(__dirname, '../../mail/src/template/tests/official');

// No fonts but those that a template asks for, as we have it.
const options = { fonts: {}, validationLevel: 'soft', beautify: false, minify: false };

// Blanks at the ends of lines, and blank lines, say nothing.
const tidy = (html) => `${html.split('\n').map((line) => line.trim()).filter((line) => line !== '').join('\n')}\n`;

async function main() {
  let differ = 0;
  for (const name of fs.readdirSync(folder).filter((name) => name.endsWith('.mjml'))) {
    const { html } = await (mjml.default ?? mjml)(fs.readFileSync(path.join(folder, name), 'utf8'), options);
    // Ids drawn for each run.
    const ids = new Map();
    const numbered = tidy(html).replace(/[0-9a-f]{16}/g, (id) => {
      if (!ids.has(id)) ids.set(id, `id-${ids.size + 1}`);
      return ids.get(id);
    });
    const golden = path.join(folder, name.replace(/mjml$/, 'html'));
    if (!check) fs.writeFileSync(golden, numbered);
    else if (!fs.existsSync(golden) || fs.readFileSync(golden, 'utf8') !== numbered) {
      const shown = path.relative(process.cwd(), golden);
      console.error(`${shown} is not what mjml makes: node e2e/mjml/golden.js ${process.argv[3]}`);
      differ += 1;
    }
  }
  process.exitCode = differ === 0 ? 0 : 1;
}

main();
