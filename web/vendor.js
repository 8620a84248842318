// Copies what the page takes from other projects, with their licences, to where the wheel has it.
import { cpSync, mkdirSync, rmSync, readFileSync, writeFileSync } from "node:fs";

const to = new URL("../pctstream/http/page/vendor/", import.meta.url);
const taken = [
  ["preact/dist/preact.module.js", "preact.js", "preact/LICENSE", "preact"],
  [
    "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2",
    "inter.woff2",
    "@fontsource-variable/inter/LICENSE",
    "inter",
  ],
  [
    "@fontsource-variable/jetbrains-mono/files/jetbrains-mono-latin-wght-normal.woff2",
    "jetbrains-mono.woff2",
    "@fontsource-variable/jetbrains-mono/LICENSE",
    "jetbrains-mono",
  ],
  ["swagger-ui-dist/swagger-ui-bundle.js", "swagger-ui.js", "swagger-ui-dist/LICENSE", "swagger-ui-dist"],
  ["swagger-ui-dist/swagger-ui.css", "swagger-ui.css", "swagger-ui-dist/LICENSE", "swagger-ui-dist"],
  // what its bundle has of others
  ["swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.LICENSES.txt"],
];
rmSync(to, { recursive: true, force: true });
mkdirSync(to, { recursive: true });
for (const [file, name, licence, project] of taken) {
  const from = new URL(`node_modules/${file}`, import.meta.url);
  if (name.endsWith(".js")) {
    const { version, license } = JSON.parse(
      readFileSync(new URL(`node_modules/${project}/package.json`, import.meta.url), "utf8"),
    );
    const head = `// ${project} ${version}, ${license}: see ${project}.LICENSE.txt\n// @ts-nocheck\n`;
    // without the map, which is not shipped
    writeFileSync(new URL(name, to), head + readFileSync(from, "utf8").replace(/\n\/\/# source.*\s*$/, "\n"));
  } else cpSync(from, new URL(name, to));
  if (licence) cpSync(new URL(`node_modules/${licence}`, import.meta.url), new URL(`${project}.LICENSE.txt`, to));
}
