declare module "quill-cursors/css";
