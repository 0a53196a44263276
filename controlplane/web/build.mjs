// Bundles the page into dist/, from where the control plane embeds it.
import { copyFile, mkdir, rm } from 'node:fs/promises';
import { build } from 'esbuild';

await rm('dist', { recursive: true, force: true });
await mkdir('dist', { recursive: true });
await build({
  entryPoints: { app: 'src/main.ts', style: 'src/style.css' },
  outdir: 'dist',
  bundle: true,
  minify: true,
  format: 'iife',
  target: ['es2022'],
  // openvidu-browser's dependencies are written for Node's global object.
  define: { global: 'globalThis' },
  legalComments: 'linked',
  logLevel: 'warning',
});
await copyFile('src/index.html', 'dist/index.html');
await copyFile('src/icon.svg', 'dist/icon.svg');
