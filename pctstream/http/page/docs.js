// Every call of /openapi.json, to be read and tried; with the token that this tab was given at `/`.

import { token } from "./asking.js";

// @ts-ignore: the bundle defines it
globalThis.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor: (/** @type {{headers: Record<string, string>}} */ request) => {
    if (token()) request.headers.Authorization ??= `Bearer ${token()}`;
    return request;
  },
});
