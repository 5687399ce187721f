import client from './index.js';

export const { wrap, watch, checkouts, tagClient, withTags, setTags, middleware } = client;
export default client;
