import helper from './test.js';

export const { noOpenTransactions } = helper;
export default helper;
