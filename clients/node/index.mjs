import client from './index.js';

export const { wrap, watch, checkouts, withTags, setTags, middleware } = client;
export default client;
