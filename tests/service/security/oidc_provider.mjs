// oidc-provider (https://github.com/panva/node-oidc-provider), a certified OpenID Connect provider, with three accounts.
// usage: node oidc_provider.mjs NODE_MODULES SETTINGS_AS_JSON
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [modules, settings] = process.argv.slice(2);
const { issuer, port, page, callback, client } = JSON.parse(settings);
const require = createRequire(path.join(modules, "x.js"));
const { Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));

const GROUPS = { ann: ["pathologists", "cooks"], bob: ["cooks"], eve: ["students", "slide admins"] };
const provider = new Provider(issuer, {
  clients: [{
    client_id: client,
    client_secret: "a-secret-of-the-client",
    redirect_uris: [callback],
    post_logout_redirect_uris: [page],
    response_types: ["code"],
    grant_types: ["authorization_code"],
  }],
  claims: { openid: ["sub"], profile: ["groups"] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: GROUPS[id] ?? [] }) }),
});
provider.on("server_error", (_, error) => console.error(error));
provider.listen(port, "127.0.0.1", () => console.log("listening"));
